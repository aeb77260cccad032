import { describe, expect, test } from 'vitest'
import type { FaultyStorage, StorageCall } from '../../testing/src/index.ts'
import {
  type BackupEvent,
  createBackup,
  holdBackup,
  keepLast,
  listBackups,
  type MergeResult,
  mergeLogs,
  pruneBackups,
  verifyBackup,
} from '../src/index.ts'
import { acquireLock } from '../src/lock.ts'
import { assertReaches, capturing, history, logsOf } from './support/merging.ts'

const isWrite = ({ operation, key }: StorageCall): boolean =>
  (operation === 'put' || operation === 'delete') && !key.includes('/lock-')

const isLog = (key: string): boolean => key.includes('-log/')

/** From the nth write on nothing is written any more, as if the process had been killed; locks are let go of. */
function killAtWrite(storage: FaultyStorage, nth: number): void {
  let writes = 0
  storage.restart([{ kind: 'error', when: (call) => isWrite(call) && ++writes >= nth }])
}

describe('whatever happens to mergeLogs', () => {
  test('killed at any write, every moment stays reachable, and the next merge finishes', async () => {
    const expected = capturing()
    await history(expected, 7)
    await mergeLogs(expected.plan, { most: 3 })
    const writes = expected.first.calls.filter(isWrite).length
    expect(writes).toBeGreaterThan(20)
    for (let nth = 1; ; nth++) {
      const scene = capturing()
      const plan = scene.planWith({ destinations: [{ name: 'first', storage: scene.first }] })
      const moments = await history({ ...scene, plan }, 7)
      killAtWrite(scene.first, nth)
      await mergeLogs(plan, { most: 3 }).catch(() => {})
      const { struck } = scene.first
      scene.first.restart()
      await assertReaches(scene, plan, moments)
      for (const id of await logsOf(plan)) await verifyBackup(plan, { id, level: 'restored' })
      await mergeLogs(plan, { most: 3 })
      await assertReaches(scene, plan, moments)
      expect(await logsOf(plan), `killed at write ${nth}`).toHaveLength(3)
      if (struck.length === 0) break
    }
  })

  test('what is being read is not removed; the next merge does', async () => {
    const scene = capturing()
    const moments = await history(scene, 3)
    const reader = await acquireLock(
      scene.first,
      'books',
      { mode: 'read', verb: 'restoreBackup', waitMs: 0, signal: new AbortController().signal },
      scene.plan.runtime,
    )
    const held = await mergeLogs(scene.plan, { most: 3 })
    expect(held).toMatchObject({ merged: { length: 1 }, removed: [], waiting: { length: 3 } })
    await assertReaches(scene, scene.plan, moments)
    for (const id of held.waiting) await verifyBackup(scene.plan, { id, level: 'restored' })
    await reader.release()
    expect(await mergeLogs(scene.plan, { most: 3 })).toEqual({ merged: [], removed: held.waiting, waiting: [] })
    await assertReaches(scene, scene.plan, moments)
  })

  test('what could not be removed is found when a new chain has begun, whatever was removed of it', async () => {
    for (let nth = 1; ; nth++) {
      const scene = capturing()
      const moments = await history(scene, 3)
      let deletes = 0
      const strike = ({ operation, key }: StorageCall): boolean =>
        operation === 'delete' && isLog(key) && ++deletes >= nth
      scene.first.restart([{ kind: 'error', when: strike }])
      await mergeLogs(scene.plan, { most: 3 })
      const { struck } = scene.first
      scene.first.restart()
      const later = await history(scene, 2)
      await mergeLogs(scene.plan, { most: 3 })
      const left = await logsOf(scene.plan)
      expect(left, `failed at deletion ${nth}`).toHaveLength(3)
      await assertReaches(scene, scene.plan, [...moments, ...later])
      if (struck.length === 0) break
      expect(nth).toBeLessThan(20)
    }
  })

  test('prunes beside small logs and their merged one never break the chain', async () => {
    for (const keep of [1, 2]) {
      const scene = capturing()
      await history(scene, 3)
      const moments = await history(scene, 3)
      const plan = scene.planWith({
        adapter: { ...scene.source.adapter, pointInTime: 'captured' },
        retention: keepLast(keep),
      })
      const reader = await acquireLock(
        scene.first,
        'books',
        { mode: 'read', verb: 'restoreBackup', waitMs: 0, signal: new AbortController().signal },
        plan.runtime,
      )
      await mergeLogs(plan, { most: 3 })
      await reader.release()
      scene.source.append('afterwards')
      await createBackup(plan, { kind: 'log' })
      expect(await logsOf(plan)).toHaveLength(8)
      const [first] = (await pruneBackups(plan)).destinations
      expect(first?.removed.length).toBe(keep === 1 ? 4 : 0)
      await assertReaches(scene, plan, moments)
      await mergeLogs(plan, { most: 3 })
      await pruneBackups(plan)
      await assertReaches(scene, plan, moments)
    }
  })

  test('whichever of them a policy keeps, it keeps what they need', async () => {
    for (let kept = 0; kept < 5; kept++) {
      const scene = capturing()
      const plan = scene.planWith({
        retention: (backups) => {
          const logs = backups.filter(({ kind }) => kind === 'log').map(({ id }) => id)
          return backups.map(({ id }) => ({ id, keep: id === logs[kept], reasons: ['a test'] }))
        },
      })
      await history(scene, 3)
      scene.second.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'delete' && isLog(key) }])
      scene.first.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'delete' && isLog(key) }])
      await mergeLogs(plan, { most: 3 })
      scene.first.restart()
      scene.second.restart()
      scene.source.append('afterwards')
      await createBackup(plan, { kind: 'log' })
      expect(await logsOf(plan)).toHaveLength(5)
      const wanted = (await logsOf(plan))[kept]
      await pruneBackups(plan)
      const left = await logsOf(plan)
      expect(left).toContain(wanted)
      for (const id of left) await verifyBackup(plan, { id, level: 'restored' })
    }
  })

  test('an optional destination that lacks a log keeps its small ones, and both go on', async () => {
    const scene = capturing()
    const plan = scene.planWith({
      destinations: [
        { name: 'first', storage: scene.first },
        { name: 'second', storage: scene.second, required: false },
      ],
    })
    const moments = await history({ ...scene, plan }, 3)
    // What is merged cannot be stored there.
    scene.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'put' }])
    const { removed, waiting } = await mergeLogs(plan, { most: 3 })
    expect([removed.length, waiting.length]).toEqual([3, 0])
    scene.second.restart()
    expect(
      (await listBackups(plan)).backups.filter(({ kind }) => kind === 'log').map(({ destinations }) => destinations),
    ).toEqual([['second'], ['second'], ['second'], ['first']])
    scene.source.append('afterwards')
    const next = await createBackup(plan, { kind: 'log' })
    expect(next).toMatchObject({ kind: 'log', destinations: [{ name: 'first' }, { name: 'second' }] })
    expect(next.destinations.some(({ error }) => error)).toBe(false)
    expect((await mergeLogs(plan, { most: 3 })).merged).toEqual([])
    const only = { name: 'second', storage: scene.second }
    for (const alone of [plan, scene.planWith({ destinations: [only] })]) await assertReaches(scene, alone, moments)
  })

  test('a damaged log stops only its own merge, which another destination may save', async () => {
    const scene = capturing()
    const moments = await history(scene, 6)
    const [first] = await logsOf(scene.plan)
    const damage = {
      kind: 'flip',
      when: ({ key }: StorageCall) => key.includes(`${first}/`) && !key.endsWith('.json'),
    } as const
    const events: BackupEvent[] = []
    scene.first.restart([damage])
    scene.second.restart([damage])
    const { merged } = await mergeLogs(scene.plan, { most: 3, onEvent: (event) => events.push(event) })
    expect(merged).toHaveLength(1)
    expect(events.filter(({ type }) => type === 'warning')).toHaveLength(2)
    scene.second.restart()
    expect((await mergeLogs(scene.plan, { most: 3 })).merged).toHaveLength(1)
    scene.first.restart()
    await assertReaches(scene, scene.plan, moments)
  })

  test('nothing is removed for a merged log that does not read back as it was written', async () => {
    const scene = capturing()
    await history(scene, 3)
    const ids = await logsOf(scene.plan)
    const isMember = ({ operation, key }: StorageCall): boolean => operation === 'put' && /-log\/.*part-1/.test(key)
    let puts = 0
    scene.first.restart([{ kind: 'flip', when: (call) => isMember(call) && ++puts === 1 }])
    const { merged, removed } = await mergeLogs(scene.plan, { most: 3 })
    expect(scene.first.struck).toHaveLength(1)
    expect(merged).toHaveLength(1)
    // The second destination has it whole.
    expect(removed).toEqual(ids)
    const { backups } = await listBackups(scene.plan)
    expect(backups.filter(({ id }) => ids.includes(id)).map(({ destinations }) => destinations)).toEqual([
      ['first'],
      ['first'],
      ['first'],
    ])
  })

  test('a chain on hold is left alone', async () => {
    const scene = capturing()
    await history(scene, 3)
    await holdBackup(scene.plan, { id: (await logsOf(scene.plan))[0] as string, reason: 'audit' })
    expect(await mergeLogs(scene.plan, { most: 3 })).toEqual({
      merged: [],
      removed: [],
      waiting: [],
    } satisfies MergeResult)
  })
})
