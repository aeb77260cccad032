// Commits small transactions, of four pages each, until it is ended, at a steady pace or as fast as it can:
//   node writer.ts DATABASE TRANSACTIONS_PER_SECOND|full
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'

const [file = 'app.db', rate = '200'] = process.argv.slice(2)
const db = new Database(file, { timeout: 10_000 })
db.pragma('synchronous = NORMAL')
const tick = db.prepare('INSERT INTO ticks (at, sum) VALUES (?, ?)')
const touch = db.prepare('UPDATE tasks SET updated_at = ? WHERE id = ?')
const tasks = db.prepare('SELECT max(id) FROM tasks').pluck().get() as number
const latenciesMs: number[] = []
let ended = false
process.on('SIGTERM', () => {
  ended = true
})
const startedMs = performance.now()
for (let n = 0; !ended; n++) {
  const beganMs = performance.now()
  db.exec('BEGIN IMMEDIATE')
  tick.run(Date.now(), n)
  for (let i = 0; i < 3; i++) touch.run(new Date().toISOString(), 1 + ((n * 7919 + i * 104_729) % tasks))
  db.exec('COMMIT')
  latenciesMs.push(performance.now() - beganMs)
  if (rate === 'full') await nextTurn()
  else await sleep(Math.max(0, startedMs + ((n + 1) * 1000) / Number(rate) - performance.now()))
}
const perSecond = Math.round(latenciesMs.length / ((performance.now() - startedMs) / 1000))
db.close()
latenciesMs.sort((a, b) => a - b)
const at = (share: number): number =>
  Math.round((latenciesMs[Math.floor((latenciesMs.length - 1) * share)] ?? 0) * 100) / 100
console.log(
  JSON.stringify({ transactions: latenciesMs.length, perSecond, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) }),
)
