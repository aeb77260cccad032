// The app: it adds tasks, and finishes one now and then.
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'

/** A database with 200 tasks, half of them done. */
export function createTasks(file: string): void {
  const database = new Database(file)
  database.pragma('journal_mode = WAL')
  database.exec(`
    CREATE TABLE tasks (
      id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0, added_at TEXT NOT NULL
    );
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
    INSERT INTO tasks (title, done, added_at) SELECT 'Task ' || i, i % 2, strftime('%FT%H:%M:%fZ') FROM n;
  `)
  database.close()
}

/** Works on the tasks until it is stopped. */
export class App {
  readonly #database: Database.Database
  readonly #working: Promise<void>
  #stopped = false

  constructor(file: string) {
    this.#database = new Database(file, { timeout: 5_000 })
    this.#working = this.#work()
  }

  count(): string {
    return countTasks(this.#database, 'tasks')
  }

  /** Lets go of the database as well: nobody may be in it while it is replaced. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#working
    this.#database.close()
  }

  async #work(): Promise<void> {
    const add = this.#database.prepare('INSERT INTO tasks (title, added_at) VALUES (?, ?)')
    const finish = this.#database.prepare(
      'UPDATE tasks SET done = 1 WHERE id = (SELECT min(id) FROM tasks WHERE done = 0)',
    )
    for (let n = 1; !this.#stopped; n++) {
      add.run('Call the landlord', new Date().toISOString())
      if (n % 10 === 0) finish.run()
      await sleep(10)
    }
  }
}

/** `table`: a name from this program, not from outside. */
export function countTasks(database: Database.Database, table: string): string {
  const sql = `SELECT sum(done = 0) AS open, sum(done = 1) AS done FROM ${table}`
  const { open, done } = database.prepare(sql).get() as { open: number | null; done: number | null }
  return `${open ?? 0} open, ${done ?? 0} done`
}
