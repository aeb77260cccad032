import Database from 'better-sqlite3'

// A database whose every committed state proves itself: each writer numbers its rows without a gap and keeps a running
// sum of them in a second table, in the same transaction.

export interface LedgerShape {
  readonly pageSize?: number
  readonly journalMode?: 'wal' | 'delete' | 'truncate' | 'persist'
  readonly autoVacuum?: 0 | 1 | 2
  readonly encoding?: 'UTF-8' | 'UTF-16le' | 'UTF-16be'
}

/** Rows of each writer that stay; older ones are deleted as new ones come, so that a ledger stays small. */
const ROWS_KEPT = 300

/** Of a rollback journal each connection says for itself what becomes of it: kept in `user_version` for the writers. */
const JOURNAL_MODES = ['wal', 'delete', 'truncate', 'persist'] as const

export function createLedger(file: string, shape: LedgerShape = {}): void {
  const { pageSize = 4096, journalMode = 'wal', autoVacuum = 0, encoding = 'UTF-8' } = shape
  const database = new Database(file)
  database.pragma(`page_size = ${pageSize}`)
  database.pragma(`auto_vacuum = ${autoVacuum}`)
  database.pragma(`encoding = '${encoding}'`)
  database.pragma(`journal_mode = ${journalMode}`)
  database.pragma(`user_version = ${JOURNAL_MODES.indexOf(journalMode)}`)
  database.exec(`
    CREATE TABLE entry (writer INTEGER, n INTEGER, amount INTEGER, pad BLOB, PRIMARY KEY (writer, n)) WITHOUT ROWID;
    CREATE INDEX entry_amount ON entry (amount);
    CREATE TABLE total (writer INTEGER PRIMARY KEY, n INTEGER, sum INTEGER, gone_n INTEGER, gone_sum INTEGER);
    CREATE TABLE junk (id INTEGER PRIMARY KEY, data BLOB);
  `)
  database.close()
}

export interface LedgerState {
  readonly integrity: string
  /** What contradicts what; empty for the state of one commit. */
  readonly faults: readonly string[]
  /** Last number of each writer. */
  readonly last: Readonly<Record<number, number>>
}

/** Reads a ledger that nobody writes to. */
export function readLedger(file: string): LedgerState {
  const database = new Database(file, { fileMustExist: true })
  try {
    const rows = database
      .prepare(`
        SELECT t.*, count(e.n) AS rows, coalesce(min(e.n), t.n + 1) AS first, coalesce(max(e.n), t.n) AS newest,
          coalesce(sum(e.amount), 0) AS amounts
        FROM total t LEFT JOIN entry e USING (writer) GROUP BY t.writer`)
      .all() as Record<
      'writer' | 'n' | 'sum' | 'gone_n' | 'gone_sum' | 'rows' | 'first' | 'newest' | 'amounts',
      number
    >[]
    const faults = rows.flatMap((row) => {
      const wrong: string[] = []
      if (row.newest !== row.n) wrong.push(`writer ${row.writer}: newest row ${row.newest}, counted ${row.n}`)
      if (row.first !== row.gone_n + 1) wrong.push(`writer ${row.writer}: first row ${row.first}, gone ${row.gone_n}`)
      if (row.rows !== row.n - row.gone_n)
        wrong.push(`writer ${row.writer}: ${row.rows} rows of ${row.n} - ${row.gone_n}`)
      if (row.amounts !== row.sum - row.gone_sum) wrong.push(`writer ${row.writer}: the sums differ`)
      return wrong
    })
    return {
      integrity: database.pragma('integrity_check', { simple: true }) as string,
      faults,
      last: Object.fromEntries(rows.map((row) => [row.writer, row.n])),
    }
  } finally {
    database.close()
  }
}

/** One connection's way of adding to a ledger. */
export class LedgerWriter {
  readonly database: Database.Database
  readonly #writer: number
  readonly #random: () => number
  /** Transactions that were committed, as far as this writer knows. */
  committed = 0

  constructor(file: string, writer: number, random: () => number) {
    this.#writer = writer
    this.#random = random
    this.database = new Database(file, { fileMustExist: true, timeout: 20_000 })
    const journalMode = JOURNAL_MODES[this.database.pragma('user_version', { simple: true }) as number]
    this.database.pragma(`journal_mode = ${journalMode}`)
    this.database.pragma('synchronous = OFF')
    this.database.pragma('cache_size = 50')
    this.database.prepare('INSERT OR IGNORE INTO total VALUES (?, 0, 0, 0, 0)').run(writer)
    this.committed = (this.database.prepare('SELECT n FROM total WHERE writer = ?').get(writer) as { n: number }).n
  }

  /** One transaction; with `spill` one that outgrows the cache and is rolled back. */
  add(spill = false): void {
    const random = this.#random
    const n = this.committed + 1
    const amount = Math.floor(random() * 1_000_000)
    this.database.exec('BEGIN IMMEDIATE')
    try {
      this.#run(
        'INSERT INTO entry VALUES (?, ?, ?, randomblob(?))',
        this.#writer,
        n,
        amount,
        Math.floor(random() * 300),
      )
      this.#run('UPDATE total SET n = ?, sum = sum + ? WHERE writer = ?', n, amount, this.#writer)
      if (n > ROWS_KEPT) this.#deleteOldest()
      if (random() < 0.3) this.#run('INSERT INTO junk (data) VALUES (randomblob(?))', Math.floor(random() * 6_000))
      if (random() < 0.1) this.#run('DELETE FROM junk WHERE id IN (SELECT id FROM junk ORDER BY random() LIMIT 5)')
      if (spill) {
        for (let i = 0; i < 60; i++) this.#run('INSERT INTO junk (data) VALUES (randomblob(8000))')
        this.#run('UPDATE total SET sum = sum + 1')
        this.database.exec('ROLLBACK')
        return
      }
      this.database.exec('COMMIT')
      this.committed = n
    } catch (error) {
      if (this.database.inTransaction) this.database.exec('ROLLBACK')
      throw error
    }
  }

  #deleteOldest(): void {
    const oldest = this.database
      .prepare('SELECT n, amount FROM entry WHERE writer = ? ORDER BY n LIMIT 1')
      .get(this.#writer) as { n: number; amount: number }
    this.#run('DELETE FROM entry WHERE writer = ? AND n = ?', this.#writer, oldest.n)
    this.#run(
      'UPDATE total SET gone_n = ?, gone_sum = gone_sum + ? WHERE writer = ?',
      oldest.n,
      oldest.amount,
      this.#writer,
    )
  }

  #run(sql: string, ...values: number[]): void {
    this.database.prepare(sql).run(...values)
  }
}

/** A small generator of numbers from 0 to 1, the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
}
