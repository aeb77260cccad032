import { describe, expect, test } from 'vitest'
import { collect, type FaultyStorage, readAll, type StorageCall } from '../../testing/src/index.ts'
import { type BackupEvent, type BackupPlan, listBackups, mergeLogs } from '../src/index.ts'
import { warningsIn } from './support/following.ts'
import { assertReaches, capturing, history, logsOf } from './support/merging.ts'
import type { Scenario } from './support/scenario.ts'

const isWrite = ({ operation, key }: StorageCall): boolean =>
  (operation === 'put' || operation === 'delete') && !key.includes('/lock-')

/** Three logs and the one that was made of them; nothing was removed yet. */
async function merged(scene: Scenario): Promise<{ moments: Date[]; inputs: string[]; id: string }> {
  const moments = await history(scene, 3)
  const inputs = await logsOf(scene.plan)
  for (const storage of [scene.first, scene.second])
    storage.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'delete' && key.includes('-log/') }])
  const { merged } = await mergeLogs(scene.plan, { most: 3 })
  for (const storage of [scene.first, scene.second]) storage.restart()
  const id = merged[0]?.id as string
  expect(await logsOf(scene.plan)).toEqual([...inputs, id])
  return { moments, inputs, id }
}

type Part = 'member' | 'manifest'

/** Changes one byte. */
async function damage(storage: FaultyStorage, id: string, part: Part = 'member'): Promise<void> {
  const objects = await collect(storage.list(`books/${id}/`))
  const { key } = objects.find(({ key }) => key.endsWith('.json') === (part === 'manifest')) as { key: string }
  const bytes = await readAll(await storage.get(key))
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
  await storage.put(key, bytes)
  storage.restart()
}

async function remove(storage: FaultyStorage, id: string): Promise<void> {
  for (const { key } of await collect(storage.list(`books/${id}/`))) await storage.delete(key)
  storage.restart()
}

/** Merges, and gives what was told and where each log is now. */
async function merge(plan: BackupPlan): Promise<{ told: string[]; logs: (readonly [string, string[]])[] }> {
  const events: BackupEvent[] = []
  await mergeLogs(plan, { most: 3, onEvent: (event) => events.push(event) })
  const { backups } = await listBackups(plan)
  const logs = backups.filter(({ kind }) => kind === 'log')
  return { told: warningsIn(events), logs: logs.map(({ id, destinations }) => [id, [...destinations]] as const) }
}

const BOTH = ['first', 'second']

describe('a merged log that is damaged while its logs are still there', () => {
  test('in every destination, is removed and made anew', async () => {
    const scene = capturing()
    const { moments, inputs, id } = await merged(scene)
    for (const storage of [scene.first, scene.second]) await damage(storage, id)
    const first = await merge(scene.plan)
    expect(first.told).toEqual([expect.stringContaining('was damaged and is removed')])
    expect(first.logs).toEqual(inputs.map((input) => [input, BOTH]))
    await assertReaches(scene, scene.plan, moments)
    expect(await merge(scene.plan)).toEqual({ told: [], logs: [[id, BOTH]] })
    await assertReaches(scene, scene.plan, moments)
  })

  test.each<Part>(['member', 'manifest'])('in one destination (its %s), is put there anew', async (part) => {
    const scene = capturing()
    const { moments, inputs, id } = await merged(scene)
    await damage(scene.first, id, part)
    const first = await merge(scene.plan)
    expect(first.told.at(-1)).toContain('is put there anew from second')
    expect(first.logs).toEqual([...inputs.map((input) => [input, ['first']]), [id, BOTH]])
    expect(await merge(scene.plan)).toEqual({ told: [], logs: [[id, BOTH]] })
    for (const name of ['first', 'second'] as const)
      await assertReaches(scene, scene.planWith({ destinations: [{ name, storage: scene[name] }] }), moments)
  })

  test('is removed where its logs are gone as well, when another destination has them', async () => {
    const scene = capturing()
    const { moments, inputs, id } = await merged(scene)
    for (const storage of [scene.first, scene.second]) await damage(storage, id)
    await remove(scene.first, inputs[1] as string)
    const { told, logs } = await merge(scene.plan)
    expect(told).toEqual([
      expect.stringContaining('some of the logs that it was made of are gone or damaged as well'),
      expect.stringContaining('was damaged and is removed'),
    ])
    expect(logs).toEqual(inputs.map((input, index) => [input, index === 1 ? ['second'] : BOTH]))
    await assertReaches(scene, scene.plan, moments)
  })

  test.each([
    ['gone', remove],
    ['damaged', damage],
  ])('stays, and is told, while one of its logs is %s everywhere', async (_how, lose) => {
    const scene = capturing()
    const plan = scene.planWith({ destinations: [{ name: 'first', storage: scene.first }] })
    const { inputs, id } = await merged({ ...scene, plan })
    await damage(scene.first, id)
    await lose(scene.first, inputs[1] as string)
    const before = (await listBackups(plan)).backups
    for (let round = 0; round < 2; round++) {
      expect((await merge(plan)).told).toEqual([expect.stringContaining('A new full begins a whole chain')])
      expect((await listBackups(plan)).backups).toEqual(before)
    }
    expect(scene.first.calls.filter(isWrite)).toEqual([])
  })

  test.each<[string, (scene: Scenario, id: string) => Promise<unknown>]>([
    ['in both destinations', ({ first, second }, id) => Promise.all([damage(first, id), damage(second, id)])],
    ['in the first', ({ first }, id) => damage(first, id)],
    ['in the second', ({ second }, id) => damage(second, id)],
  ])('%s: killed at any write, nothing is lost, and the next merges finish', async (_where, damaged) => {
    for (let nth = 1; ; nth++) {
      const scene = capturing()
      const { moments, id } = await merged(scene)
      await damaged(scene, id)
      let writes = 0
      for (const storage of [scene.first, scene.second])
        storage.restart([{ kind: 'error', when: (call) => isWrite(call) && ++writes >= nth }])
      await mergeLogs(scene.plan, { most: 3 }).catch(() => {})
      for (const storage of [scene.first, scene.second]) storage.restart()
      for (let round = 0; round < 2; round++) await mergeLogs(scene.plan, { most: 3 })
      expect(await merge(scene.plan), `killed at write ${nth}`).toEqual({ told: [], logs: [[id, BOTH]] })
      for (const name of ['first', 'second'] as const)
        await assertReaches(scene, scene.planWith({ destinations: [{ name, storage: scene[name] }] }), moments)
      if (writes < nth) break
    }
  })

  test('is not removed when it could not be read for another reason', async () => {
    const scene = capturing()
    const { inputs, id } = await merged(scene)
    await damage(scene.first, id)
    scene.second.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'get' && key.includes(id) }])
    const { told, logs } = await merge(scene.plan)
    expect(told).toHaveLength(2)
    expect(logs).toEqual([...inputs, id].map((log) => [log, BOTH]))
  })
})
