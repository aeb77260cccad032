import { describe, expect, test } from 'vitest'
import { createBackup, mergeLogs, recoveryWindow, restoreBackup, verifyBackup } from '../src/index.ts'
import { assertReaches, capturing, history, logsOf, newPlace } from './support/merging.ts'
import { scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

const DAY = 86_400_000

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
    const to = newPlace()
    await restoreBackup(scene.plan, { id: differential, to })
    expect(scene.source.entries(to)).toHaveLength((scene.source.entries()?.length as number) - 2)
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
      const to = newPlace()
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
