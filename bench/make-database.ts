import { createCipheriv, createHash } from 'node:crypto'
import { existsSync, renameSync, rmSync, statSync } from 'node:fs'
import Database from 'better-sqlite3'

const WORDS = `invoice customer review deploy staging login password reset button layout report export import calendar
reminder team member comment attachment upload search filter label priority deadline estimate sprint backlog release
migration index query timeout retry payment refund webhook token session profile avatar settings language timezone
notification email template draft archive restore backup audit policy role permission project board column card task
subtask checklist owner assignee watcher mention reply thread document page version history change request approval`.split(
  /\s+/,
)

/** Deterministic: the same seed gives the same database. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return ((state ^ (state >>> 13)) >>> 0) / 0x1_0000_0000
  }
}

/** `records`: what apps store, sentences that come again and again with other numbers. `prose`: words in random order. */
export type Shape = 'records' | 'prose'

/** Makes (once) a TaskFlow-like database in WAL mode of about `bytes` bytes, and returns its size. */
export function makeDatabase(file: string, bytes: number, shape: Shape): number {
  if (existsSync(file)) return statSync(file).size
  const partial = `${file}.making`
  for (const suffix of ['', '-wal', '-shm']) rmSync(partial + suffix, { force: true })
  const db = new Database(partial)
  db.pragma('journal_mode = OFF')
  db.pragma('synchronous = OFF')
  db.exec(`
    CREATE TABLE tasks (id INTEGER PRIMARY KEY, project INTEGER, title TEXT, body TEXT, status TEXT, due TEXT, updated_at TEXT);
    CREATE TABLE comments (id INTEGER PRIMARY KEY, task INTEGER, author INTEGER, body TEXT, created_at TEXT);
    CREATE TABLE history (id INTEGER PRIMARY KEY, task INTEGER, event TEXT);
    CREATE TABLE attachments (id INTEGER PRIMARY KEY, task INTEGER, name TEXT, data BLOB);
    CREATE TABLE ticks (id INTEGER PRIMARY KEY, at INTEGER, sum INTEGER);
  `)
  const random = randomNumbers(20_261_122)
  const upTo = (limit: number): number => Math.floor(random() * limit)
  const word = (): string => WORDS[upTo(WORDS.length)] as string
  const words = (count: number): string => Array.from({ length: count }, word).join(' ')
  const sentences = Array.from({ length: 600 }, () => words(6 + upTo(8)))
  const sentence = (): string => `${sentences[upTo(sentences.length)]} #${upTo(100_000)}.`
  const text = (length: number): string =>
    shape === 'prose' ? words(length) : Array.from({ length: Math.ceil(length / 10) }, sentence).join(' ')
  const task = db.prepare('INSERT INTO tasks (project, title, body, status, due, updated_at) VALUES (?, ?, ?, ?, ?, ?)')
  const comment = db.prepare('INSERT INTO comments (task, author, body, created_at) VALUES (?, ?, ?, ?)')
  const event = db.prepare('INSERT INTO history (task, event) VALUES (?, ?)')
  const attachment = db.prepare('INSERT INTO attachments (task, name, data) VALUES (?, ?, ?)')
  const statuses = ['open', 'in progress', 'blocked', 'done']
  const time = (): string => new Date(1_700_000_000_000 + upTo(6e10)).toISOString()
  const size = (): number => (db.pragma('page_count', { simple: true }) as number) * 4096
  for (let id = 1; size() < bytes * 0.93; ) {
    db.exec('BEGIN')
    for (let i = 0; i < 2000; i++, id++) {
      task.run(id % 500, text(6), text(40 + upTo(80)), statuses[id % 4], time().slice(0, 10), time())
      for (let c = 0; c < 2; c++) comment.run(id, upTo(200), text(10 + upTo(30)), time())
      const change = { field: 'status', from: statuses[upTo(4)], to: statuses[id % 4], by: upTo(200), at: time() }
      event.run(id, JSON.stringify(change))
      // A quarter of the bytes does not compress, like pictures.
      if (i % 16 === 0) attachment.run(id, `${word()}.png`, noise(id, 6_000))
    }
    db.exec('COMMIT')
  }
  db.exec('CREATE INDEX tasks_project ON tasks (project, status); CREATE INDEX comments_task ON comments (task)')
  db.pragma('journal_mode = WAL')
  db.close()
  renameSync(partial, file)
  return statSync(file).size
}

function noise(seed: number, bytes: number): Buffer {
  const key = createHash('sha256').update(String(seed)).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes))
}
