// An app that follows the log of its database, and nothing else: node follower.ts DATABASE FOLDER [unmerged]
// A process that forks it asks for what it needs; see follow-race.ts.
import { type ChildProcess, spawn } from 'node:child_process'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineBackupPlan, directory, followLog } from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import { peakMemoryOf } from './measure.ts'

const [file = 'app.db', folder = 'backups', merging] = process.argv.slice(2)
const MIB = 1024 * 1024
const children = new Set<ChildProcess>()
const watchedSpawn = ((...args: Parameters<typeof spawn>) => {
  const child = spawn(...args)
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}) as typeof spawn

const plan = defineBackupPlan({
  name: 'bench',
  adapter: sqlite({ file }),
  destinations: [directory(folder)],
  runtime: { spawn: watchedSpawn },
})
const before = process.memoryUsage.rss()
const warnings: string[] = []
const following = await followLog(plan, {
  everyMs: 1000,
  ...(merging === 'unmerged' && { merge: false }),
  onEvent(event) {
    if (event.type === 'warning') warnings.push(event.message)
  },
})
await following.flush()

const pids = (): number[] => [...children].flatMap(({ pid }) => pid ?? [])
const answers: Record<string, (seconds: number) => Promise<unknown>> = {
  children: async () => pids(),
  health: async () => ({ ...(await following.health()), warnings }),
  memory: async () => ({
    appGrowthMiB: Math.round((process.memoryUsage.rss() - before) / MIB),
    childPeakMiB: Math.round(Math.max(0, ...pids().map(peakMemoryOf)) / MIB),
  }),
  // Its timer costs a percent of a core by itself: never while processor time is measured.
  async stalls(seconds) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    await sleep(seconds * 1000)
    delay.disable()
    const stall = (ns: number): number => Math.max(0, Math.round((ns / 1e6 - 1) * 100) / 100)
    return { stallP99Ms: stall(delay.percentile(99)), stallMaxMs: stall(delay.max) }
  },
  async stop() {
    await following.stop()
    return true
  },
}
process.on('message', async ({ ask, seconds = 0 }: { ask: string; seconds?: number }) => {
  const answer = await (answers[ask] as (typeof answers)[string])(seconds)
  process.send?.(answer, () => {
    if (ask === 'stop') process.disconnect()
  })
})
process.send?.('ready')
