import { readFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { type History, historyOf, PAGE_SIZE } from './history.ts'

/** The tasks of a database that is `commits` commits after its first state. */
export const tasksAfter = (commits: number): number => 20 * commits + 1

/** A real database, as it was after each of its commits. It grows, and the last but one commit makes it small again. */
export function recordDatabase(file: string, commits: number, perStep: number): History {
  const database = new Database(file)
  const states: Buffer[] = []
  const commit = (sql: string): void => {
    database.exec(sql)
    states.push(readFileSync(file)) // no other process and no other connection: no lock is lost
  }
  try {
    database.pragma(`page_size = ${PAGE_SIZE}`)
    database.pragma('journal_mode = DELETE')
    database.pragma('auto_vacuum = FULL')
    commit(
      "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, notes BLOB); INSERT INTO task VALUES (1, 'first', NULL)",
    )
    for (let n = 1; n <= commits; n++) {
      const isShrinking = n === commits - 1
      commit(`
        BEGIN;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
        INSERT INTO task (title, notes) SELECT 'task ' || i || ' of commit ${n}', randomblob(100) FROM n;
        ${isShrinking ? 'UPDATE task SET notes = NULL;' : ''}
        COMMIT`)
    }
  } finally {
    database.close()
  }
  return historyOf(states, perStep)
}
