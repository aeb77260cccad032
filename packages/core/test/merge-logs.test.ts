import { describe, expect, test } from 'vitest'
import type { FaultyStorage, StorageCall } from '../../testing/src/index.ts'
import {
  type BackupEvent,
  type BackupPlan,
  createBackup,
  holdBackup,
  keepLast,
  listBackups,
  type MergeResult,
  mergeLogs,
  planRecovery,
  pruneBackups,
  recoveryWindow,
  restoreBackup,
  verifyBackup,
} from '../src/index.ts'
import { acquireLock } from '../src/lock.ts'
import { type Scenario, scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

const DAY = 86_400_000

/** A scenario whose ledger holds captured moments. */
function capturing(options: Parameters<typeof scenario>[1] = {}): Scenario {
  const scene = scenario(2, options)
  const adapter = { ...scene.source.adapter, pointInTime: 'captured' as const }
  return { ...scene, plan: scene.planWith({ adapter }), planWith: (extra) => scene.planWith({ adapter, ...extra }) }
}

/** A full and `count` logs a minute apart: every third has two entries, every fifth none. */
async function history(scene: Scenario, count: number): Promise<Date[]> {
  const { source, plan, advance } = scene
  const ids: string[] = []
  ids.push((await createBackup(plan)).id)
  for (let log = 1; log <= count; log++) {
    advance(60_000)
    if (log % 5 !== 0) source.append(`log ${log}`)
    if (log % 3 === 0) {
      advance(10_000)
      source.append(`log ${log} again`)
    }
    ids.push((await createBackup(plan, { kind: 'log' })).id)
  }
  const full = await planRecovery(plan, { id: ids[0] as string })
  const entries = source.entries() ?? []
  const after = entries.filter(({ at }) => new Date(at) > full.reachedAt).map(({ at }) => new Date(at))
  return [full.reachedAt, ...after]
}

let places = 0

async function assertReaches(scene: Scenario, plan: BackupPlan, moments: readonly Date[]): Promise<void> {
  const live = scene.source.entries() ?? []
  for (const at of moments) {
    const to = `place ${++places}`
    await restoreBackup(plan, { at, to })
    expect(scene.source.entries(to), at.toISOString()).toEqual(live.filter((entry) => new Date(entry.at) <= at))
  }
  const to = `place ${++places}`
  await restoreBackup(plan, { to })
  expect(scene.source.entries(to), 'the newest state').toEqual(live)
}

const logsOf = async (plan: BackupPlan): Promise<string[]> =>
  (await listBackups(plan)).backups.filter(({ kind }) => kind === 'log').map(({ id }) => id)

const isWrite = ({ operation, key }: StorageCall): boolean =>
  (operation === 'put' || operation === 'delete') && !key.includes('/lock-')

const isLog = (key: string): boolean => key.includes('-log/')

/** From the nth write on nothing is written any more, as if the process had been killed; locks are let go of. */
function killAtWrite(storage: FaultyStorage, nth: number): void {
  let writes = 0
  storage.restart([{ kind: 'error', when: (call) => isWrite(call) && ++writes >= nth }])
}

describe('mergeLogs', () => {
  test('few logs reach every moment that many did, and the next log goes on after them', async () => {
    const scene = capturing()
    const moments = await history(scene, 13)
    const before = await logsOf(scene.plan)
    const { merged, removed, waiting } = await mergeLogs(scene.plan, { most: 3 })
    expect(merged.map(({ inputs }) => inputs.length)).toEqual([3, 3, 3, 3, 3])
    expect(merged.slice(0, 4).flatMap(({ inputs }) => inputs)).toEqual(before.slice(0, 12))
    expect(waiting).toEqual([])
    // One of three of three, one of three, and one as it was made.
    const left = await logsOf(scene.plan)
    expect(left).toEqual([merged[4]?.id, merged[3]?.id, before[12]])
    expect([...removed].sort()).toEqual(
      [...before, ...merged.map(({ id }) => id)].filter((id) => !left.includes(id)).sort(),
    )
    await assertReaches(scene, scene.plan, moments)
    scene.source.append('afterwards')
    const next = await createBackup(scene.plan, { kind: 'log' })
    expect(next.kind).toBe('log')
    expect(next.manifest.base?.previous).toBe(before[12])
    await assertReaches(scene, scene.plan, moments)
    for (const id of await logsOf(scene.plan)) await verifyBackup(scene.plan, { id, level: 'restored' })
    expect(await mergeLogs(scene.plan, { most: 3 })).toEqual({ merged: [], removed: [], waiting: [] })
  })

  test('differentials in between do not matter, and keep their states', async () => {
    const scene = capturing()
    const moments = await history(scene, 4)
    scene.advance(1000)
    const { id: differential } = await createBackup(scene.plan, { kind: 'differential' })
    for (const text of ['a', 'b']) {
      scene.advance(1000)
      scene.source.append(text)
      await createBackup(scene.plan, { kind: 'log' })
    }
    const { merged } = await mergeLogs(scene.plan, { most: 6 })
    expect(merged).toHaveLength(1)
    await assertReaches(scene, scene.plan, moments)
    await restoreBackup(scene.plan, { id: differential, to: `place ${++places}` })
    expect(scene.source.entries(`place ${places}`)).toHaveLength((scene.source.entries()?.length as number) - 2)
  })

  test('what is older than `everyMoment` keeps one moment in `resolutionMs`, once', async () => {
    const scene = capturing()
    await history(scene, 9)
    const window = async () => (await recoveryWindow(scene.plan)).chains[0]?.stretches[0]
    scene.advance(3 * DAY)
    expect((await mergeLogs(scene.plan, { most: 10, everyMoment: '4d', resolutionMs: 180_000 })).merged).toEqual([])
    scene.advance(2 * DAY)
    const options = { most: 10, everyMoment: '4d', resolutionMs: 180_000 }
    const { merged } = await mergeLogs(scene.plan, options)
    expect(merged).toMatchObject([{ thinned: true, inputs: { length: 9 } }])
    expect((await mergeLogs(scene.plan, options)).merged).toEqual([])
    expect((await window())?.resolutionMs).toBeGreaterThan(60_000)
    const live = scene.source.entries() ?? []
    const states = new Set<number>()
    for (const { at } of live) {
      if (new Date(at) < ((await window())?.from as Date)) continue
      const to = `place ${++places}`
      await restoreBackup(scene.plan, { at: new Date(at), to })
      const found = scene.source.entries(to) ?? []
      expect(found).toEqual(live.slice(0, found.length))
      expect(found.every((entry) => entry.at <= at)).toBe(true)
      states.add(found.length)
    }
    expect(states.size).toBeGreaterThan(1)
    expect(states.size).toBeLessThan(6)
    await assertReaches(scene, scene.plan, [])
  })

  test('the logs of an older chain are thinned when all of it is old; of a newer one they stay', async () => {
    const scene = capturing()
    await history(scene, 4)
    scene.advance(DAY)
    await createBackup(scene.plan)
    expect((await mergeLogs(scene.plan, { most: 2 })).merged).toEqual([])
    scene.advance(8 * DAY)
    expect((await mergeLogs(scene.plan, { most: 4 })).merged).toMatchObject([{ thinned: true, inputs: { length: 4 } }])
  })

  test('an engine whose logs lead to every moment keeps every moment', async () => {
    const scene = scenario(2)
    const moments = await history(scene, 6)
    scene.advance(100 * DAY)
    expect((await mergeLogs(scene.plan, { most: 3 })).merged.map(({ thinned }) => thinned)).toEqual([false, false])
    const [chain] = (await recoveryWindow(scene.plan)).chains
    expect(chain?.stretches).toMatchObject([{ everyMoment: true }])
    await assertReaches(scene, scene.plan, moments)
  })

  test('a gap is never merged over', async () => {
    const scene = capturing()
    await history(scene, 7)
    const ids = await logsOf(scene.plan)
    for (const storage of [scene.first, scene.second]) await storage.delete(`books/${ids[3]}/manifest.json`)
    const { merged } = await mergeLogs(scene.plan, { most: 3 })
    expect(merged.map(({ inputs }) => inputs)).toEqual([ids.slice(0, 3), ids.slice(4, 7)])
  })

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
    scene.first.restart([{ kind: 'flip', when: isMember }])
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

  test('a merged log that is not about the time of its logs is refused, and nothing is lost', async () => {
    const scene = capturing()
    const moments = await history(scene, 3)
    const { adapter } = scene.plan
    const plan = scene.planWith({
      adapter: {
        ...adapter,
        async *merge(logs, request, ctx) {
          const facts = yield* (adapter.merge as NonNullable<typeof adapter.merge>)(logs.slice(1), request, ctx)
          return facts
        },
      },
    })
    const before = await logsOf(plan)
    expect(await codeOf(mergeLogs(plan, { most: 3 }))).toBe('CONTRACT_BROKEN')
    expect(await logsOf(plan)).toEqual(before)
    await assertReaches(scene, scene.plan, moments)
  })

  test.each([
    [{ most: 1 }, 'OPTIONS_INVALID'],
    [{ most: 1.5 }, 'OPTIONS_INVALID'],
    [{ resolutionMs: 0 }, 'OPTIONS_INVALID'],
    [{ everyMoment: '7m' }, 'OPTIONS_INVALID'],
  ])('refuses %j', async (options, code) => {
    expect(await codeOf(mergeLogs(capturing().plan, options))).toBe(code)
  })

  test('says when the adapter cannot', async () => {
    const scene = scenario(1)
    const { merge: _, ...adapter } = scene.source.adapter
    expect(await codeOf(mergeLogs(scene.planWith({ adapter })))).toBe('MERGE_UNSUPPORTED')
  })
})
