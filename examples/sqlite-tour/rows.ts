// What the tour asks of databases itself: of its own ones only, never of the user's.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import Database from 'better-sqlite3'

/** Rows of every table, biggest first. Tables that need an extension of the app are left out. */
export function countRows(file: string): Map<string, number> {
  const database = new Database(file, { fileMustExist: true })
  try {
    const tables = database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
      .pluck()
      .all() as string[]
    const counted = tables.flatMap((table): [string, number][] => {
      try {
        return [
          [
            table,
            database
              .prepare(`SELECT count(*) FROM ${quoted(table)}`)
              .pluck()
              .get() as number,
          ],
        ]
      } catch {
        return []
      }
    })
    return new Map(counted.sort(([, a], [, b]) => b - a))
  } finally {
    database.close()
  }
}

export function sumRows(rows: ReadonlyMap<string, number>): number {
  return [...rows.values()].reduce((sum, count) => sum + count, 0)
}

/** How many rows of `copy` are not, value for value, in `live`, which may have more. */
export function countDifferentRows(copy: string, live: string): { compared: number; different: number } {
  const rows = countRows(copy)
  const database = new Database(live, { fileMustExist: true })
  try {
    database.prepare('ATTACH ? AS restored').run(copy)
    let different = 0
    for (const table of rows.keys()) {
      const sql = `SELECT count(*) FROM (SELECT * FROM restored.${quoted(table)} EXCEPT SELECT * FROM main.${quoted(table)})`
      different += database.prepare(sql).pluck().get() as number
    }
    return { compared: sumRows(rows), different }
  } finally {
    database.close()
  }
}

/** Deletes every row of the biggest table that lets itself be emptied, as a slip in a console would. */
export function emptyBiggestTable(file: string): { table: string; rows: number } | undefined {
  const rows = countRows(file)
  const database = new Database(file, { fileMustExist: true })
  try {
    for (const [table, count] of rows) {
      if (count === 0) continue
      try {
        database.prepare(`DELETE FROM ${quoted(table)}`).run()
        return { table, rows: count }
      } catch {
        // A foreign key, or a trigger with a function of the app: the next one then.
      }
    }
    return undefined
  } finally {
    database.close()
  }
}

/** SHA-256 of a file, as manifests have it. */
export async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
