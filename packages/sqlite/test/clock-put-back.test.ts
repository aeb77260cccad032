import {
  createBackup,
  followLog,
  listBackups,
  type Manifest,
  planRecovery,
  recoveryWindow,
  restoreBackup,
  verifyBackup,
} from '@taskflow-backup/core'
import { expect } from 'vitest'
import { test } from './support/place.ts'
import { addTask, createTasks, tasksIn } from './support/tasks.ts'

const HOUR_MS = 3_600_000

test('after the clock was put back, a new full is followed, and moments stay apart', async ({ place }) => {
  let aheadMs = HOUR_MS
  const plan = place.plan({ runtime: { now: () => new Date(Date.now() + aheadMs) } })
  createTasks(place.file, ['a'])
  const made: Manifest[] = []
  const make = async (kind: 'full' | 'log'): Promise<void> => {
    made.push((await createBackup(plan, { kind })).manifest)
  }
  await make('full')
  addTask(place.file, 'b')
  await make('log')
  aheadMs = 0
  addTask(place.file, 'c')
  await make('full')
  addTask(place.file, 'd')
  await make('log')
  const [first, second] = [made[0]?.chain, made[2]?.chain]
  expect(made.map(({ chain }) => chain)).toEqual([first, first, second, second])
  const times = made.map(({ consistentAt }) => consistentAt)
  expect([...new Set(times)].sort()).toEqual(times)
  for (const [index, titles] of [['a'], ['a', 'b'], ['a', 'b', 'c'], ['a', 'b', 'c', 'd']].entries()) {
    const to = place.path(`${index}.db`)
    await restoreBackup(plan, { at: new Date(times[index] as string), to })
    expect(tasksIn(to)).toEqual(titles)
  }
})

test('while a log is followed, it goes on in the new full', async ({ place }) => {
  let aheadMs = HOUR_MS
  const plan = place.plan({ runtime: { now: () => new Date(Date.now() + aheadMs) } })
  createTasks(place.file, ['a'])
  const following = await followLog(plan, { everyMs: 20, merge: false })
  try {
    addTask(place.file, 'b')
    await following.flush()
    aheadMs = 0
    const full = await createBackup(plan)
    addTask(place.file, 'c')
    await following.flush()
    expect((await listBackups(plan)).backups.at(-1)).toMatchObject({ kind: 'log', chain: full.manifest.chain })
    expect((await following.health()).gaps).toEqual([])
  } finally {
    await following.stop()
  }
  await restoreBackup(plan, { to: place.path('newest.db') })
  expect(tasksIn(place.path('newest.db'))).toEqual(['a', 'b', 'c'])
  expect((await recoveryWindow(plan)).chains.map(({ gaps }) => gaps)).toEqual([[], []])
})

test('a differential that was made then is done without near its time, as it is planned', async ({ place }) => {
  let aheadMs = HOUR_MS
  const plan = place.plan({ runtime: { now: () => new Date(Date.now() + aheadMs) } })
  createTasks(place.file, ['a'])
  await createBackup(plan)
  addTask(place.file, 'b')
  const before = await createBackup(plan, { kind: 'log' })
  aheadMs = 0
  addTask(place.file, 'c')
  const differential = await createBackup(plan, { kind: 'differential' })
  expect(differential.manifest.consistentAt).toBe(before.manifest.consistentAt)
  const restored = async (to: string, at?: Date): Promise<{ titles: string[]; kinds: string[] }> => {
    const planned = await planRecovery(plan, at ? { at } : {})
    const { recovery } = await restoreBackup(plan, { ...(at && { at }), to: place.path(to) })
    expect(recovery.backups).toEqual(planned.backups)
    return { titles: tasksIn(place.path(to)), kinds: planned.backups.map(({ kind }) => kind) }
  }
  // Nothing else has what it holds.
  expect(await restored('alone.db')).toEqual({ titles: ['a', 'b', 'c'], kinds: ['full', 'differential'] })
  addTask(place.file, 'd')
  const after = await createBackup(plan, { kind: 'log' })
  const [early, late] = [before, after].map(({ manifest }) => new Date(manifest.consistentAt))
  expect(await restored('early.db', early)).toEqual({ titles: ['a', 'b'], kinds: ['full', 'log', 'log'] })
  expect(await restored('late.db', late)).toEqual({ titles: ['a', 'b', 'c', 'd'], kinds: ['full', 'log', 'log'] })
  await verifyBackup(plan, { id: after.id, level: 'restored' })
})
