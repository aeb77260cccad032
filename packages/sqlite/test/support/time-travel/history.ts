import Database from 'better-sqlite3'

// A database that proves of each of its committed states which one it is. Every transaction of every writer counts
// itself, and carries on the numbers and the running sum of all rows that there ever were, in one text of fixed width.

/** What a committed state says about itself. Two different states never say the same. */
export interface HistoryMark {
  /** Transactions since the begin. */
  readonly commits: number
  /** Rows since the begin, and how many of them, the oldest, are gone again. */
  readonly rows: number
  readonly gone: number
  /** Running sums over all rows, and over those that are gone. */
  readonly sum: number
  readonly goneSum: number
  /** Clock of the newest row's writer, in milliseconds. */
  readonly clock: number
}

export interface HistoryState {
  readonly mark: HistoryMark
  readonly integrity: string
  /** What contradicts what; empty for the state of one commit. */
  readonly faults: readonly string[]
}

const NAME = 'history'
const FIELDS = ['commits', 'rows', 'gone', 'sum', 'goneSum', 'clock'] as const
const DIGITS = 15
const MARK_LENGTH = NAME.length + FIELDS.length * (DIGITS + 1)
/** Rows that stay: old ones are deleted as new ones come, so that a restore takes no time. */
const ROWS_KEPT = 3000
const SUM_BELOW = 1_000_000_007

const START: HistoryMark = { commits: 0, rows: 0, gone: 0, sum: 0, goneSum: 0, clock: 0 }

const markText = (mark: HistoryMark): string =>
  [NAME, ...FIELDS.map((field) => String(mark[field]).padStart(DIGITS, '0'))].join(' ')

function parseMark(text: string): HistoryMark {
  const [name, ...numbers] = text.split(' ')
  if (name !== NAME || numbers.length !== FIELDS.length) throw new Error(`Not the mark of a history: ${text}`)
  return Object.fromEntries(FIELDS.map((field, index) => [field, Number(numbers[index])])) as unknown as HistoryMark
}

/** The page that holds the mark: the root of the first table, before and after a VACUUM. */
export const MARK_PAGE = 2

/** Reads the mark from the image of {@link MARK_PAGE}, without SQLite: https://sqlite.org/fileformat2.html#b_tree_pages */
export function markOfPage(page: Buffer): HistoryMark {
  const cells = page.readUInt16BE(3)
  if (page[0] !== 13 || cells !== 1) throw new Error('Page 2 is not the leaf of a table with one row')
  const cell = page.readUInt16BE(8)
  const at = page.indexOf(`${NAME} `, cell)
  if (at < 0) throw new Error('There is no mark on page 2')
  return parseMark(page.toString('latin1', at, at + MARK_LENGTH))
}

export function createHistory(file: string, pageSize: number): void {
  const database = new Database(file)
  database.pragma(`page_size = ${pageSize}`)
  database.pragma('journal_mode = wal')
  database.exec(`
    CREATE TABLE history (one INTEGER PRIMARY KEY, mark TEXT);
    CREATE TABLE writer (writer INTEGER PRIMARY KEY, sequence INTEGER);
    CREATE TABLE entry (id INTEGER PRIMARY KEY, commits INTEGER, writer INTEGER, sequence INTEGER, clock INTEGER,
      amount INTEGER, sum INTEGER, pad TEXT);
    CREATE INDEX entry_amount ON entry (amount);
  `)
  database.prepare('INSERT INTO history VALUES (1, ?)').run(markText(START))
  database.close()
}

/** Reads and checks a history that nobody writes to: a file, or the bytes of one. */
export function readHistory(from: string | Buffer): HistoryState {
  const database = new Database(from, { readonly: typeof from !== 'string' })
  try {
    const mark = parseMark(database.prepare('SELECT mark FROM history').pluck().get() as string)
    const integrity = database.pragma('integrity_check', { simple: true }) as string
    return { mark, integrity, faults: integrity === 'ok' ? faultsOf(database, mark) : [] }
  } finally {
    database.close()
  }
}

interface Entry {
  readonly id: number
  readonly commits: number
  readonly writer: number
  readonly sequence: number
  readonly clock: number
  readonly amount: number
  readonly sum: number
}

function faultsOf(database: Database.Database, mark: HistoryMark): string[] {
  const faults: string[] = []
  const expect = (what: string, found: unknown, wanted: unknown): void => {
    if (found !== wanted && faults.length < 10) faults.push(`${what}: ${found}, not ${wanted}`)
  }
  const sequences = new Map<number, number>()
  let sum = mark.goneSum
  let id = mark.gone
  let commits: number | undefined
  let last: Entry | undefined
  const entries = database.prepare('SELECT id, commits, writer, sequence, clock, amount, sum FROM entry ORDER BY id')
  for (const entry of entries.iterate() as IterableIterator<Entry>) {
    sum = nextSum(sum, entry.amount)
    expect(`number of row ${entry.id}`, entry.id, ++id)
    expect(`sum of row ${entry.id}`, entry.sum, sum)
    expect(`commit of row ${entry.id}`, entry.commits - (commits ?? entry.commits) <= 1, true)
    const before = sequences.get(entry.writer)
    expect(`sequence of row ${entry.id}`, entry.sequence, (before ?? entry.sequence - 1) + 1)
    sequences.set(entry.writer, entry.sequence)
    commits = entry.commits
    last = entry
  }
  expect('rows', id, mark.rows)
  expect('sum', sum, mark.sum)
  expect('commits', commits ?? mark.commits, mark.commits)
  expect('clock', last?.clock ?? mark.clock, mark.clock)
  for (const [writer, sequence] of sequences) {
    const told = database.prepare('SELECT sequence FROM writer WHERE writer = ?').pluck().get(writer)
    expect(`last of writer ${writer}`, sequence, told)
  }
  return faults
}

const nextSum = (sum: number, amount: number): number => (sum * 31 + amount) % SUM_BELOW

/** One connection's way of adding to a history. */
export class HistoryWriter {
  readonly database: Database.Database
  /** Transactions that could not begin because somebody held a lock for longer than the timeout. */
  busy = 0
  committed = 0
  readonly #writer: number
  readonly #random: () => number
  readonly #statements: Record<
    'mark' | 'sequence' | 'insert' | 'note' | 'sumAt' | 'remove' | 'count',
    Database.Statement
  >

  constructor(file: string, writer: number, random: () => number) {
    const database = new Database(file, { fileMustExist: true, timeout: 5_000 })
    this.database = database
    this.#writer = writer
    this.#random = random
    this.#statements = {
      mark: database.prepare('SELECT mark FROM history').pluck(),
      sequence: database.prepare('SELECT sequence FROM writer WHERE writer = ?').pluck(),
      insert: database.prepare('INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)'),
      note: database.prepare('INSERT OR REPLACE INTO writer VALUES (?, ?)'),
      sumAt: database.prepare('SELECT sum FROM entry WHERE id = ?').pluck(),
      remove: database.prepare('DELETE FROM entry WHERE id <= ?'),
      count: database.prepare('UPDATE history SET mark = ?'),
    }
  }

  /** One transaction of a random size; most are small. */
  add(): void {
    const random = this.#random()
    const rows = random < 0.01 ? 200 : random < 0.1 ? 20 : 1 + Math.floor(this.#random() * 3)
    try {
      this.begin(rows)
      this.database.exec('COMMIT')
      this.committed++
    } catch (error) {
      if (this.database.inTransaction) this.database.exec('ROLLBACK')
      if (!/^SQLITE_BUSY/.test((error as { code?: string }).code ?? '')) throw error
      this.busy++
    }
  }

  /** Everything of a transaction but its commit. */
  begin(rows: number): void {
    const { mark, sequence, insert, note, sumAt, remove, count } = this.#statements
    this.database.exec('BEGIN IMMEDIATE')
    const before = parseMark(mark.get() as string)
    const clock = Date.now()
    const commits = before.commits + 1
    let own = (sequence.get(this.#writer) as number | undefined) ?? 0
    let { sum } = before
    for (let id = before.rows + 1; id <= before.rows + rows; id++) {
      const amount = Math.floor(this.#random() * 1_000_000)
      sum = nextSum(sum, amount)
      insert.run(id, commits, this.#writer, ++own, clock, amount, sum, this.#pad(amount))
    }
    note.run(this.#writer, own)
    const after = before.rows + rows
    const gone = Math.max(before.gone, after - ROWS_KEPT)
    const goneSum = gone > before.gone ? (sumAt.get(gone) as number) : before.goneSum
    if (gone > before.gone) remove.run(gone)
    count.run(markText({ commits, rows: after, gone, sum, goneSum, clock }))
  }

  /** Now and then a text that needs pages of its own. */
  #pad(amount: number): string {
    const random = this.#random()
    return `${amount} `.repeat(random < 0.01 ? 1200 : Math.floor(random * 20))
  }
}
