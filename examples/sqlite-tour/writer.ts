// The app of the tour, in a process of its own: it keeps adding tasks to the database and times every commit.
// Each transaction adds a task together with its comment and its history, so that a torn backup would be noticed.
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'

/** What the writer answers to every message: its figures since the answer before. */
export interface WriterLap {
  readonly commits: number
  readonly slowestMs: number
}

const PAUSE_MS = 1
const [file = ''] = process.argv.slice(2)

const database = new Database(file, { timeout: 5_000 })
database.pragma('foreign_keys = ON')
const task = database.prepare(
  `INSERT INTO tasks (project_id, assignee_id, title, status, priority, created_at)
   VALUES (?, ?, 'Answer the customer', 'open', 'normal', ?)`,
)
const comment = database.prepare(
  `INSERT INTO comments (task_id, author_id, body, created_at) VALUES (?, ?, 'They call again at noon.', ?)`,
)
const history = database.prepare(
  `INSERT INTO task_history (task_id, changed_by, change, changed_at) VALUES (?, ?, 'created', ?)`,
)
const addTask = database.transaction((number: number) => {
  const now = new Date().toISOString()
  const { lastInsertRowid } = task.run(1 + (number % 12), 1 + (number % 60), now)
  comment.run(lastInsertRowid, 1 + (number % 60), now)
  history.run(lastInsertRowid, 1 + (number % 60), now)
})

let lap = { commits: 0, slowestMs: 0 }
let stopped = false

process.on('message', (message: 'lap' | 'stop') => {
  process.send?.(lap)
  lap = { commits: 0, slowestMs: 0 }
  stopped = message === 'stop'
})
// The tour is gone, and so is the reason to write.
process.on('disconnect', () => {
  stopped = true
})

process.send?.(lap)
for (let number = 0; !stopped; number++) {
  const startedMs = performance.now()
  addTask.immediate(number)
  lap = { commits: lap.commits + 1, slowestMs: Math.max(lap.slowestMs, performance.now() - startedMs) }
  await sleep(PAUSE_MS)
}
database.close()
if (process.connected) process.disconnect()
