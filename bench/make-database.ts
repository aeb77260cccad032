import { createHash } from 'node:crypto'
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

/** Makes (once) a TaskFlow-like database in WAL mode of about `bytes` bytes, and returns its size. */
export function makeDatabase(file: string, bytes: number): number {
  if (existsSync(file)) return statSync(file).size
  const partial = `${file}.making`
  for (const suffix of ['', '-wal', '-shm']) rmSync(partial + suffix, { force: true })
  const db = new Database(partial)
  db.pragma('journal_mode = OFF')
  db.pragma('synchronous = OFF')
  db.exec(`
    CREATE TABLE tasks (id INTEGER PRIMARY KEY, project INTEGER, title TEXT, body TEXT, status TEXT, due TEXT, updated_at TEXT);
    CREATE TABLE comments (id INTEGER PRIMARY KEY, task INTEGER, author INTEGER, body TEXT, created_at TEXT);
    CREATE TABLE attachments (id INTEGER PRIMARY KEY, task INTEGER, name TEXT, data BLOB);
    CREATE TABLE ticks (id INTEGER PRIMARY KEY, at INTEGER, sum INTEGER);
  `)
  const random = randomNumbers(20_261_122)
  const word = (): string => WORDS[Math.floor(random() * WORDS.length)] as string
  const text = (words: number): string => Array.from({ length: words }, word).join(' ')
  const task = db.prepare('INSERT INTO tasks (project, title, body, status, due, updated_at) VALUES (?, ?, ?, ?, ?, ?)')
  const comment = db.prepare('INSERT INTO comments (task, author, body, created_at) VALUES (?, ?, ?, ?)')
  const attachment = db.prepare('INSERT INTO attachments (task, name, data) VALUES (?, ?, ?)')
  const statuses = ['open', 'in progress', 'blocked', 'done']
  const time = (): string => new Date(1_700_000_000_000 + Math.floor(random() * 6e10)).toISOString()
  const size = (): number => (db.pragma('page_count', { simple: true }) as number) * 4096
  for (let id = 1; size() < bytes * 0.93; ) {
    db.exec('BEGIN')
    for (let i = 0; i < 2000; i++, id++) {
      task.run(id % 500, text(6), text(40 + Math.floor(random() * 80)), statuses[id % 4], time().slice(0, 10), time())
      for (let c = 0; c < 2; c++)
        comment.run(id, Math.floor(random() * 200), text(10 + Math.floor(random() * 30)), time())
      // A fifth of the bytes does not compress, like pictures.
      if (i % 16 === 0) attachment.run(id, `${word()}.png`, noise(id, 4_000))
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
  const blocks = Array.from({ length: Math.ceil(bytes / 64) }, (_, i) =>
    createHash('sha512').update(`${seed}/${i}`).digest(),
  )
  return Buffer.concat(blocks).subarray(0, bytes)
}
