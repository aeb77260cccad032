import { closeSync, openSync, readSync } from 'node:fs'
import type { Finding } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { hashPage, StateSum } from '../changes/page-table.ts'
import type { StateOfFile } from '../jobs.ts'

/** Rows of `integrity_check` that are told; a broken database has more than anybody reads. */
const MOST_ROWS = 20
const READ_BYTES = 1024 * 1024

/** Checks a database that nobody else uses: whether it is the one that is expected, and what SQLite finds. */
export function checkDatabase(file: string, expected: StateOfFile | null): Finding[] {
  // First: closing the file would drop SQLite's locks on it.
  return [...(expected ? [checkPages(file, expected)] : []), ...checkBySqlite(file)]
}

/** Reads the file through. Its changes were put together from many backups: only here it is seen as a whole. */
function checkPages(file: string, { pageSize, state, commit }: StateOfFile): Finding {
  const check = 'page-hashes'
  const sum = new StateSum()
  const block = Buffer.allocUnsafeSlow(READ_BYTES)
  const fd = openSync(file, 'r')
  try {
    let page = 0
    for (let read = readSync(fd, block); read > 0; read = readSync(fd, block)) {
      for (let at = 0; at + pageSize <= read; at += pageSize)
        sum.add(++page, hashPage(block.subarray(at, at + pageSize)))
      if (read % pageSize !== 0) return { check, severity: 'error', message: 'The file is no whole number of pages.' }
    }
  } catch (error) {
    return thrown(check, error)
  } finally {
    closeSync(fd)
  }
  const which = commit === undefined ? '' : ` after commit ${commit} of its chain`
  return sum.state === state
    ? { check, severity: 'ok', message: `Every page is as it was${which}.` }
    : { check, severity: 'error', message: `The pages are not as they were${which}.` }
}

function checkBySqlite(file: string): Finding[] {
  let database: Database.Database
  try {
    database = new Database(file, { fileMustExist: true })
  } catch (error) {
    return [thrown('open', error)]
  }
  try {
    return [...checkIntegrity(database), ...checkForeignKeys(database)]
  } catch (error) {
    return [thrown('integrity_check', error)]
  } finally {
    database.close()
  }
}

function checkIntegrity(database: Database.Database): Finding[] {
  const check = 'integrity_check'
  try {
    const rows = database.prepare(`PRAGMA integrity_check(${MOST_ROWS})`).pluck().all() as string[]
    if (rows.length === 1 && rows[0] === 'ok') {
      return [{ check, severity: 'ok', message: 'SQLite finds the database whole.' }]
    }
    return rows.map((message) => ({ check, severity: 'error', message }))
  } catch (error) {
    // The app brings its own collations and functions; without them SQLite cannot check what is built on them.
    const message = error instanceof Error ? error.message : String(error)
    if (!/no such (collation sequence|module|function|tokenizer)/.test(message)) throw error
    return [
      { check, severity: 'warning', message: `Not complete, because the app's own extension is not here: ${message}.` },
    ]
  }
}

/** Violations were in the source as well, where nothing enforced them: worth telling, no reason to refuse a backup. */
function checkForeignKeys(database: Database.Database): Finding[] {
  const check = 'foreign_key_check'
  try {
    const rows = database.prepare('PRAGMA foreign_key_check').all() as { table: string; parent: string }[]
    if (rows.length === 0) return [{ check, severity: 'ok', message: 'Every foreign key finds its row.' }]
    const tables = [...new Set(rows.map(({ table, parent }) => `${table} → ${parent}`))].join(', ')
    return [{ check, severity: 'warning', message: `${rows.length} rows refer to rows that are not there: ${tables}.` }]
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return [{ check, severity: 'warning', message: `Could not be made: ${message}.` }]
  }
}

function thrown(check: string, error: unknown): Finding {
  const code = (error as { code?: string }).code
  return {
    check,
    severity: 'error',
    message: error instanceof Error ? error.message : String(error),
    ...(code && { code }),
  }
}
