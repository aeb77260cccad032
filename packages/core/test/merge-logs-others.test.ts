import { expect, test } from 'vitest'
import { collect, type FaultyStorage, readAll, type StorageCall } from '../../testing/src/index.ts'
import {
  type BackupEvent,
  createBackup,
  holdBackup,
  listBackups,
  mergeLogs,
  readOnly,
  type Storage,
} from '../src/index.ts'
import { warningsIn } from './support/following.ts'
import { assertReaches, capturing, history, logsOf } from './support/merging.ts'
import type { Scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

const isLogDelete = ({ operation, key }: StorageCall): boolean => operation === 'delete' && key.includes('-log/')

/** Three logs and the one that was made of them; nothing was removed yet. */
async function merged(scene: Scenario): Promise<{ moments: Date[]; inputs: string[]; id: string }> {
  const moments = await history(scene, 3)
  const inputs = await logsOf(scene.plan)
  const both = [scene.first, scene.second]
  for (const storage of both) storage.restart([{ kind: 'error', when: isLogDelete }])
  const [made] = (await mergeLogs(scene.plan, { most: 3 })).merged
  for (const storage of both) storage.restart()
  return { moments, inputs, id: made?.id as string }
}

async function damage(storage: FaultyStorage, id: string): Promise<void> {
  const objects = await collect(storage.list(`books/${id}/`))
  const { key } = objects.find(({ key }) => !key.endsWith('.json')) as { key: string }
  const bytes = await readAll(await storage.get(key))
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
  await storage.put(key, bytes)
  storage.restart()
}

test('a hold that comes between a merge and its removals is respected', async () => {
  const scene = capturing()
  await history(scene, 3)
  const before = await logsOf(scene.plan)
  let locks = 0
  const isSecondLock = ({ operation, key }: StorageCall): boolean =>
    operation === 'put' && key.includes('/lock-') && ++locks === 3
  scene.first.restart([{ kind: 'hang', when: isSecondLock }])
  const merging = mergeLogs(scene.plan, { most: 3 })
  // Twice to merge, the second time without anything to do; then to remove.
  await expect.poll(() => scene.first.struck.length).toBe(1)
  scene.first.restart()
  await holdBackup(scene.plan, { id: before[0] as string, reason: 'audit' })
  scene.first.release()
  expect(await merging).toMatchObject({ merged: { length: 1 }, removed: [], waiting: before })
  expect(await logsOf(scene.plan)).toHaveLength(4)
})

test('nothing is removed once the lock is lost', async () => {
  const scene = capturing()
  const { inputs, id } = await merged(scene)
  let mode: unknown
  /** Loses the lock as soon as somebody asks for it who may remove. */
  const losing: Storage = {
    ...scene.first,
    async put(key, body, options) {
      if (key.includes('/lock-')) mode = (JSON.parse(String(body)) as { mode: string }).mode
      return scene.first.put(key, body, options)
    },
    async stat(key) {
      if (key.includes('/lock-') && mode === 'exclusive') await scene.first.delete(key)
      return scene.first.stat(key)
    },
  }
  const destinations = [
    { name: 'first', storage: losing },
    { name: 'second', storage: scene.second },
  ]
  expect(await codeOf(mergeLogs(scene.planWith({ destinations }), { most: 3 }))).toBe('LOCK_LOST')
  expect(await logsOf(scene.plan)).toEqual([...inputs, id])
  expect([...scene.first.calls, ...scene.second.calls].filter(isLogDelete)).toEqual([])
})

test('a destination that can only be read is left as it is, and the merged log that is damaged elsewhere stays', async () => {
  const scene = capturing()
  const { moments, inputs, id } = await merged(scene)
  const plan = scene.planWith({
    destinations: [
      { name: 'first', storage: scene.first },
      { name: 'second', storage: readOnly(scene.second), required: false },
    ],
  })
  for (const storage of [scene.first, scene.second]) await damage(storage, id)
  const merge = async (): Promise<string[]> => {
    const events: BackupEvent[] = []
    await mergeLogs(plan, { most: 3, onEvent: (event) => events.push(event) })
    return warningsIn(events)
  }
  // It would stand for them in every listing: nobody could make it anew.
  expect(await merge()).toEqual([expect.stringContaining('A new full begins a whole chain')])
  expect(await logsOf(plan)).toEqual([...inputs, id])
  for (const { key } of await collect(scene.second.list(`books/${id}/`))) await scene.second.delete(key)
  expect(await merge()).toEqual([expect.stringContaining('was damaged and is removed')])
  expect(await merge()).toEqual([expect.stringContaining('It can only be read')])
  expect((await listBackups(plan)).backups.at(-1)).toMatchObject({ id, destinations: ['first'] })
  await assertReaches(scene, plan, moments)
})

test('a damaged merged log stays while it alone tells until when nothing happened', async () => {
  const scene = capturing()
  const plan = scene.planWith({ destinations: [{ name: 'first', storage: scene.first }] })
  const one = { ...scene, plan }
  await createBackup(plan)
  for (let log = 0; log < 3; log++) {
    scene.advance(60_000)
    if (log < 2) scene.source.append(`log ${log}`)
    await createBackup(plan, { kind: 'log' })
  }
  const inputs = await logsOf(plan)
  scene.first.restart([{ kind: 'error', when: isLogDelete }])
  const [made] = (await mergeLogs(plan, { most: 3 })).merged
  scene.first.restart()
  // The log of no change is gone already: by its position nobody would miss it.
  for (const { key } of await collect(scene.first.list(`books/${inputs[2]}/`))) await scene.first.delete(key)
  await damage(one.first, made?.id as string)
  const events: BackupEvent[] = []
  await mergeLogs(plan, { most: 3, onEvent: (event) => events.push(event) })
  expect(warningsIn(events)).toEqual([expect.stringContaining('A new full begins a whole chain')])
  expect(await logsOf(plan)).toEqual([inputs[0], inputs[1], made?.id])
})

test('what is put anew shows its manifest last', async () => {
  const scene = capturing()
  const { id } = await merged(scene)
  await damage(scene.first, id)
  await mergeLogs(scene.plan, { most: 3 })
  const puts = scene.first.calls.filter(({ operation, key }) => operation === 'put' && key.includes(id))
  expect(puts.length).toBeGreaterThan(1)
  expect(puts.map(({ key }) => key.endsWith('manifest.json'))).toEqual(puts.map((_, at) => at === puts.length - 1))
})

test('a damaged merged log goes last where its logs are: nobody looks for it elsewhere', async () => {
  const scene = capturing()
  const { moments, id, inputs } = await merged(scene)
  for (const storage of [scene.first, scene.second]) await damage(storage, id)
  for (const input of inputs)
    for (const { key } of await collect(scene.second.list(`books/${input}/`))) await scene.second.delete(key)
  scene.second.restart([{ kind: 'error', when: isLogDelete }])
  await mergeLogs(scene.plan, { most: 3 })
  const holders = async () => (await listBackups(scene.plan)).backups.find((backup) => backup.id === id)?.destinations
  expect(await holders()).toEqual(['first', 'second'])
  scene.second.restart()
  await mergeLogs(scene.plan, { most: 3 })
  expect(await holders()).toBeUndefined()
  await assertReaches(scene, scene.plan, moments)
})

test.each<[string, { from?: number; to?: number; laterMs?: number }]>([
  ['begins later', { from: 1 }],
  ['ends earlier', { to: -1 }],
  ['tells another time', { laterMs: 1 }],
])('a merged log that %s than its logs is refused, and nothing is lost', async (_how, { from, to, laterMs = 0 }) => {
  const scene = capturing()
  const moments = await history(scene, 3)
  const { adapter } = scene.plan
  const plan = scene.planWith({
    adapter: {
      ...adapter,
      async *merge(logs, request, ctx) {
        const merge = adapter.merge as NonNullable<typeof adapter.merge>
        const facts = yield* merge(logs.slice(from, to), request, ctx)
        return { ...facts, consistentAt: new Date(facts.consistentAt.getTime() + laterMs) }
      },
    },
  })
  const before = await logsOf(plan)
  expect(await codeOf(mergeLogs(plan, { most: 3 }))).toBe('CONTRACT_BROKEN')
  expect(await logsOf(plan)).toEqual(before)
  await assertReaches(scene, scene.plan, moments)
})

test('logs that a required destination lacks are left alone', async () => {
  const scene = capturing()
  const moments = await history(scene, 6)
  const ids = await logsOf(scene.plan)
  for (const { key } of await collect(scene.second.list(`books/${ids[1]}/`))) await scene.second.delete(key)
  const { merged, removed } = await mergeLogs(scene.plan, { most: 3 })
  expect(merged.map(({ inputs }) => inputs)).toEqual([ids.slice(2, 5)])
  expect(removed).toEqual(ids.slice(2, 5))
  await assertReaches(scene, scene.plan, moments)
})
