import type Database from 'better-sqlite3'
import type { Agent } from '../processes.ts'

/** By another process, as somebody would with the command line; that it may be busy is a part of it. */
export async function disturb(by: Agent | undefined, file: string, sql: string): Promise<void> {
  await by?.run(
    ({ Database: Connection }, { file, sql }) => {
      const database = new Connection(file, { timeout: 5_000 })
      try {
        database.exec(sql)
      } catch (error) {
        if (!/^SQLITE_BUSY/.test((error as { code: string }).code)) throw error
      } finally {
        database.close()
      }
    },
    { file, sql },
  )
}

/** Answers the mode that it has now, or why it has not changed. */
export function setJournalMode(database: Database.Database, mode: string): string {
  try {
    return database.pragma(`journal_mode = ${mode}`, { simple: true }) as string
  } catch (error) {
    return (error as { code: string }).code
  }
}
