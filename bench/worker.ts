// One verb in a process of its own, as an app would run it. Prints one line of JSON.
//   node worker.ts VERB DATABASE FOLDER [COMPRESSION]
// VERB: backup, log, stored, decoded, restored, or restore[:TARGET]. DATABASE: a file of SQLite, or the options of
// postgres() in JSON. COMPRESSION: zstd, gzip or none, or zstd:LEVEL.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { createBackup, defineBackupPlan, directory, restoreBackup, verifyBackup } from '@taskflow-backup/core'
import { type PostgresOptions, postgres } from '@taskflow-backup/postgres'
import { sqlite } from '@taskflow-backup/sqlite'

const [work = 'backup', database = 'app.db', folder = 'backups', compression = 'zstd'] = process.argv.slice(2)
const [algorithm, level] = compression.split(':')
const [verb = '', target] = work.split(/:(.*)/)
const MIB = 1024 * 1024

let childPeak = 0
/** Peak resident memory of a process, in bytes; 0 once it has gone. */
function peakOf(pid: number | undefined): number {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(/VmHWM:\s+(\d+) kB/.exec(text)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

const children = new Set<number>()
const watchedSpawn = ((...args: Parameters<typeof spawn>) => {
  const child = spawn(...args)
  if (child.pid !== undefined) children.add(child.pid)
  return child
}) as typeof spawn

const plan = defineBackupPlan({
  name: 'bench',
  adapter: database.startsWith('{') ? postgres(JSON.parse(database) as PostgresOptions) : sqlite({ file: database }),
  destinations: [directory(folder)],
  compression: level ? { algorithm: algorithm as 'zstd', level: Number(level) } : (algorithm as 'zstd'),
  runtime: { spawn: watchedSpawn },
})

const verbs: Record<string, () => Promise<unknown>> = {
  backup: () => createBackup(plan),
  log: () => createBackup(plan, { kind: 'log' }),
  restore: () => restoreBackup(plan, { to: target ?? join(folder, 'restored.db') }),
  stored: () => verifyBackup(plan, { level: 'stored' }),
  decoded: () => verifyBackup(plan, { level: 'decoded' }),
  restored: () => verifyBackup(plan, { level: 'restored' }),
}

await sleep(200) // what starting up allocated and compiled is not the verb's
global.gc?.()
const before = process.memoryUsage().rss
let peak = before
const watch = setInterval(() => {
  peak = Math.max(peak, process.memoryUsage.rss())
  for (const pid of children) childPeak = Math.max(childPeak, peakOf(pid))
}, 25)
const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const startedMs = performance.now()
await (verbs[verb] as () => Promise<unknown>)()
const wallMs = performance.now() - startedMs
delay.disable()
clearInterval(watch)
// The monitor's own timer fires each millisecond: what it measures beyond that is the stall.
const stall = (ns: number): number => Math.max(0, Math.round((ns / 1e6 - 1) * 100) / 100)
console.log(
  JSON.stringify({
    wallMs: Math.round(wallMs),
    stallP99Ms: stall(delay.percentile(99)),
    stallMaxMs: stall(delay.max),
    appGrowthMiB: Math.round((peak - before) / MIB),
    childPeakMiB: Math.round(childPeak / MIB),
  }),
)
