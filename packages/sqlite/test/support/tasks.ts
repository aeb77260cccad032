import Database from 'better-sqlite3'

// A small database whose rows are texts, for tests that only ask which rows are there.

/** Makes a database with one task per title, closed. */
export function createTasks(file: string, titles: readonly string[], journalMode: 'wal' | 'delete' = 'wal'): void {
  const database = new Database(file)
  database.pragma(`journal_mode = ${journalMode}`)
  database.exec('CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)')
  database.close()
  for (const title of titles) addTask(file, title)
}

export function addTask(file: string, title: string): void {
  const database = new Database(file, { fileMustExist: true })
  database.prepare('INSERT INTO task (title) VALUES (?)').run(title)
  database.close()
}

/** The titles in a database that is whole. */
export function tasksIn(file: string): string[] {
  const database = new Database(file, { fileMustExist: true })
  try {
    const integrity = database.pragma('integrity_check', { simple: true })
    if (integrity !== 'ok') throw new Error(`${file}: ${integrity}`)
    return database.prepare('SELECT title FROM task ORDER BY id').pluck().all() as string[]
  } finally {
    database.close()
  }
}
