// One verb in a process of its own, as an app would run it. Prints one line of JSON.
//   node worker.ts VERB DATABASE FOLDER [COMPRESSION] [TARGET]
// VERB: backup, differential, log[:METHOD] (which must be how it was made), stored, decoded, restored, plan, merge, or
// restore[:TO]. DATABASE: a file of SQLite, or the options of postgres() in JSON. COMPRESSION: zstd, gzip or none, or
// zstd:LEVEL. TARGET: what to restore, `id` or `at`, in JSON.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BackupKind,
  createBackup,
  defineBackupPlan,
  directory,
  mergeLogs,
  planRecovery,
  type RecoveryTarget,
  restoreBackup,
  verifyBackup,
} from '@taskflow-backup/core'
import { type PostgresOptions, postgres } from '@taskflow-backup/postgres'
import { sqlite } from '@taskflow-backup/sqlite'
import { cpuOf, peakMemoryOf } from './measure.ts'
import { watchStalls } from './stalls.ts'

const [work = 'backup', database = 'app.db', folder = 'backups', compression = 'zstd', toRestore = '{}'] =
  process.argv.slice(2)
const [algorithm, level] = compression.split(':')
const [verb = '', target] = work.split(/:(.*)/)
const MIB = 1024 * 1024

const children = new Set<ChildProcess>()
const watchedSpawn = ((...args: Parameters<typeof spawn>) => {
  const child = spawn(...args)
  children.add(child)
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
  backup: () => backUp('full'),
  differential: () => backUp('differential'),
  log: () => backUp('log'),
  merge: () => mergeLogs(plan, { everyMoment: false }),
  plan: () => planRecovery(plan, restoreTarget()),
  restore: () => restoreBackup(plan, { ...restoreTarget(), to: target ?? join(folder, 'restored.db') }),
  stored: () => verifyBackup(plan, { level: 'stored' }),
  decoded: () => verifyBackup(plan, { level: 'decoded' }),
  restored: () => verifyBackup(plan, { level: 'restored' }),
}

/** What is not what it was asked for is not measured as if it were. */
async function backUp(kind: BackupKind): Promise<{ storedBytes: number }> {
  const backup = await createBackup(plan, { kind })
  const { requested, method } = backup.manifest
  if (requested) throw new Error(`It is no ${kind}: ${requested.reason}`)
  if (target !== undefined && method !== target) throw new Error(`It was made by ${method}, not ${target}.`)
  return backup
}

function restoreTarget(): RecoveryTarget {
  const { id, at } = JSON.parse(toRestore) as { id?: string; at?: string }
  return { ...(id && { id }), ...(at && { at: new Date(at) }) }
}

await sleep(200) // what starting up allocated and compiled is not the verb's
global.gc?.()
const before = process.memoryUsage().rss
let peak = before
let childPeak = 0
const watch = setInterval(() => {
  peak = Math.max(peak, process.memoryUsage.rss())
  for (const { pid } of children) childPeak = Math.max(childPeak, peakMemoryOf(pid ?? 0))
}, 25)
const stalls = watchStalls()
const startedMs = performance.now()
const cpuBefore = process.cpuUsage()
const result = (await (verbs[verb] as () => Promise<unknown>)()) as { storedBytes?: number }
const wallMs = performance.now() - startedMs
const cpu = process.cpuUsage(cpuBefore)
const stood = stalls()
clearInterval(watch)
// A child's time is told when it has ended.
const patience = AbortSignal.timeout(5000)
for (const child of children)
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit', { signal: patience })
console.log(
  JSON.stringify({
    wallMs: Math.round(wallMs),
    appCpuMs: Math.round((cpu.user + cpu.system) / 1000),
    childCpuMs: cpuOf(process.pid).endedChildrenMs,
    storedBytes: result.storedBytes ?? 0,
    ...stood,
    appGrowthMiB: Math.round((peak - before) / MIB),
    childPeakMiB: Math.round(childPeak / MIB),
  }),
)
