// Lists, plans and prunes a catalogue of many backups in the directory storage.
//   pnpm --filter ./bench catalog [--backups 10000] [--folder DIR]
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import {
  createBackup,
  defineBackupPlan,
  directory,
  listBackups,
  planRecovery,
  pruneBackups,
} from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import Database from 'better-sqlite3'
import { table } from './measure.ts'

const { values } = parseArgs({
  options: {
    backups: { type: 'string', default: '10000' },
    folder: { type: 'string', default: join(tmpdir(), 'taskflow-backup-bench-catalog') },
  },
})
const count = Number(values.backups)
const DAY_MS = 86_400_000
/** What changes nothing is done as often. */
const ROUNDS = 5
const now = new Date('2026-11-22T03:00:00Z')

const database = join(values.folder, 'app.db')
await rm(values.folder, { recursive: true, force: true })
await mkdir(values.folder, { recursive: true })
new Database(database).exec('CREATE TABLE tasks (id INTEGER PRIMARY KEY); INSERT INTO tasks VALUES (1)').close()

const stamp = (date: Date): string => date.toISOString().replace(/[-:.]/g, '')
const backups = join(values.folder, 'backups')

function planAt(time: Date) {
  return defineBackupPlan({
    name: 'app',
    adapter: sqlite({ file: database }),
    destinations: [directory(backups)],
    runtime: { now: () => time },
  })
}

/** `count` backups: chains of one full and `logs` logs, ending yesterday. Only the names matter to a catalogue. */
async function makeHistory(logs: number): Promise<void> {
  await rm(backups, { recursive: true, force: true })
  const perChain = logs + 1
  const chains = Math.floor(count / perChain)
  for (let c = 0; c < chains; c++) {
    const startMs = now.getTime() - (chains - c) * DAY_MS
    const chain = join(backups, 'app', `${stamp(new Date(startMs))}-aaaa`)
    await Promise.all(
      Array.from({ length: perChain }, async (_, i) => {
        const time = stamp(new Date(startMs + i * Math.floor(DAY_MS / perChain)))
        const folder = join(chain, `${time}-${i === 0 ? 'full' : 'log'}`)
        await mkdir(folder, { recursive: true })
        await writeFile(join(folder, 'member.db.zst'), 'x'.repeat(100))
        await writeFile(join(folder, 'manifest.json'), '{}')
      }),
    )
  }
  // The newest is a real one: planning reads its manifest.
  await createBackup(planAt(now))
}

/** Wall time, CPU time and longest stall of the fastest round: other processes only ever make it slower. */
async function timed(work: () => Promise<unknown>, rounds = 1): Promise<string> {
  let best = { wallMs: Number.POSITIVE_INFINITY, cpuMs: 0, stallMs: 0 }
  for (let round = 0; round < rounds; round++) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const startedMs = performance.now()
    const cpuBefore = process.cpuUsage()
    await work()
    const wallMs = performance.now() - startedMs
    const { user, system } = process.cpuUsage(cpuBefore)
    delay.disable()
    const stallMs = Math.max(0, delay.max / 1e6 - 1)
    if (wallMs < best.wallMs) best = { wallMs, cpuMs: (user + system) / 1000, stallMs }
  }
  return `${Math.round(best.wallMs)}, ${Math.round(best.cpuMs)} (${Math.round(best.stallMs)})`
}

const rows: string[][] = []
for (const [name, logs] of [
  ['fulls only', 0],
  ['chains of a full and 95 logs', 95],
] as const) {
  await makeHistory(logs)
  const plan = planAt(new Date(now.getTime() + 60_000))
  await listBackups(plan) // warm file system cache and code, as in an app that has run for a while
  const list = await timed(() => listBackups(plan), ROUNDS)
  const planning = await timed(() => planRecovery(plan), ROUNDS)
  const dry = await timed(() => pruneBackups(plan, { dryRun: true }), ROUNDS)
  const first = await timed(() => pruneBackups(plan))
  const again = await timed(() => pruneBackups(plan))
  rows.push([name, list, planning, dry, first, again])
}
console.log(
  `${count} backups; milliseconds of wall time, of CPU time, and in brackets of the event loop's longest stall\n`,
)
console.log(table(['catalogue', 'list', 'plan a recovery', 'prune, dry run', 'first prune', 'prune again'], rows))
await rm(values.folder, { recursive: true, force: true })
