import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { PutOptions, Storage } from '@taskflow-backup/core'
import { brokenStream, collect, patterned, readAll, streamOf } from '../bytes.ts'
import { rejects, settled } from '../expect.ts'
import { storageCase } from './subject.ts'

const MIB = 1024 * 1024
const KEY = 'plan/chain/backup/member.db.zst'
const OLD = patterned(1000, 7)

/** Bodies that end badly in the middle, and whatever else is needed to make that happen. */
const BAD_ENDS: readonly {
  how: string
  fault: string
  start(): { body: Readable; options?: PutOptions; begin(): void }
}[] = [
  {
    how: 'its body fails in the middle',
    fault: 'shows an object although its body failed',
    start: () => ({ body: brokenStream(patterned(300_000), new Error('source failed')), begin: () => {} }),
  },
  {
    how: 'its body is destroyed in the middle',
    fault: 'takes a destroyed body for one that ended',
    start() {
      const body = brokenStream(patterned(300_000))
      return { body, begin: () => setTimeout(() => body.destroy(), 20) }
    },
  },
  {
    how: 'it is aborted while its body stands still',
    fault: 'does not listen to its signal while it waits for the body',
    start() {
      const aborter = new AbortController()
      return {
        body: brokenStream(patterned(300_000)),
        options: { signal: aborter.signal },
        begin: () => setTimeout(() => aborter.abort(), 20),
      }
    },
  },
]

async function assertHolds(storage: Storage, key: string, expected: Uint8Array): Promise<void> {
  assert.equal((await storage.stat(key))?.sizeBytes, expected.length, 'the size that stat tells')
  assert.ok((await readAll(await storage.get(key))).equals(expected), 'what get returns is not what was put')
}

async function assertAbsent(storage: Storage): Promise<void> {
  assert.equal(await storage.stat(KEY), undefined, 'stat shows an object that was never completed')
  await rejects(storage.get(KEY).then(readAll), 'get of an object that was never completed', 'OBJECT_MISSING')
  const listed = await collect(storage.list('plan/'))
  assert.ok(!listed.some(({ key }) => key === KEY), 'list shows an object that was never completed')
}

/** A body must not be left half-read: its source would wait for ever, and keep what it has open. */
async function assertReleased(body: Readable): Promise<void> {
  if (!body.destroyed && !body.readableEnded)
    await settled(once(body, 'close'), 'the body is neither read to its end nor destroyed')
}

export const putCases = [
  ...[0, 1, 70_000, 3 * MIB + 17].map((length) =>
    storageCase(`put and get give back ${length} bytes`, 'changes, loses or adds bytes', async (storage) => {
      const bytes = patterned(length)
      assert.deepEqual(await storage.put(KEY, streamOf(bytes)), { bytes: length })
      await assertHolds(storage, KEY, bytes)
      assert.deepEqual(await storage.put(`${KEY}.2`, bytes), { bytes: length })
      await assertHolds(storage, `${KEY}.2`, bytes)
    }),
  ),
  storageCase('put answers how many bytes it stored', 'reports a wrong length', async (storage) => {
    for (const length of [0, 5, 200_000]) {
      assert.equal((await storage.put(KEY, streamOf(patterned(length), 999))).bytes, length)
      assert.equal((await storage.stat(KEY))?.sizeBytes, length)
    }
  }),
  storageCase('put takes a body of small pieces', 'mixes up or drops small pieces', async (storage) => {
    const bytes = patterned(3000)
    await storage.put(KEY, streamOf(bytes, 1))
    await assertHolds(storage, KEY, bytes)
  }),
  storageCase('put replaces an object', 'keeps the old object or mixes old and new', async (storage) => {
    await storage.put(KEY, OLD)
    for (const length of [5000, 10, 0]) {
      const bytes = patterned(length, length)
      await storage.put(KEY, streamOf(bytes))
      await assertHolds(storage, KEY, bytes)
    }
  }),
  ...BAD_ENDS.flatMap(({ how, fault, start }) => [
    storageCase(`nothing is visible of a put when ${how}`, fault, async (storage) => {
      const { body, options, begin } = start()
      begin()
      const aborted = options ? (['ABORTED'] as const) : []
      await rejects(storage.put(KEY, body, options), 'the put', ...aborted)
      await assertAbsent(storage)
      await assertReleased(body)
    }),
    storageCase(`the old object stays when ${how}`, `loses the old object: ${fault}`, async (storage) => {
      await storage.put(KEY, OLD)
      const { body, options, begin } = start()
      begin()
      await rejects(storage.put(KEY, body, options), 'the replacing put')
      await assertHolds(storage, KEY, OLD)
    }),
  ]),
  storageCase('nothing is visible while a put is under way', 'shows an object before it is whole', async (storage) => {
    const body = brokenStream(patterned(300_000), undefined)
    body.on('error', () => {}) // of a storage that has not begun to read yet
    const putting = settled(storage.put(KEY, body), 'the put')
    await new Promise((resolve) => setTimeout(resolve, 30))
    try {
      await assertAbsent(storage)
    } finally {
      body.destroy(new Error('enough'))
      await putting
    }
  }),
  storageCase('put refuses to begin when it is aborted already', 'does not look at its signal', async (storage) => {
    const body = streamOf(patterned(1000))
    await rejects(storage.put(KEY, body, { signal: AbortSignal.abort() }), 'the put', 'ABORTED')
    await rejects(storage.put(KEY, OLD, { signal: AbortSignal.abort() }), 'the put of bytes', 'ABORTED')
    await assertAbsent(storage)
    await assertReleased(body)
  }),
  storageCase(
    'an abort with a BackupError as its reason rejects with that error',
    'hides why it was aborted',
    async (storage) => {
      const aborter = new AbortController()
      const { BackupError } = await import('@taskflow-backup/core')
      setTimeout(() => aborter.abort(new BackupError('LOCK_LOST', 'lost')), 20)
      await rejects(storage.put(KEY, brokenStream(OLD), { signal: aborter.signal }), 'the put', 'LOCK_LOST')
      await assertAbsent(storage)
    },
  ),
  storageCase('put with ifAbsent keeps what is there', 'overwrites in spite of ifAbsent', async (storage) => {
    if (!storage.capabilities.conditionalPut) return
    assert.deepEqual(await storage.put(KEY, OLD, { ifAbsent: true }), { bytes: OLD.length })
    const body = streamOf(patterned(500))
    await rejects(storage.put(KEY, body, { ifAbsent: true }), 'the second put', 'KEY_EXISTS')
    await assertHolds(storage, KEY, OLD)
    await assertReleased(body)
    await storage.delete(KEY)
    await storage.put(KEY, patterned(3), { ifAbsent: true })
    await assertHolds(storage, KEY, patterned(3))
  }),
  storageCase('of concurrent puts with ifAbsent exactly one succeeds', 'lets several writers win', async (storage) => {
    if (!storage.capabilities.conditionalPut) return
    const bodies = Array.from({ length: 6 }, (_, index) => patterned(50_000 + index, index + 1))
    const outcomes = await Promise.allSettled(
      bodies.map((body) => storage.put(KEY, streamOf(body), { ifAbsent: true })),
    )
    const winners = outcomes.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []))
    assert.equal(winners.length, 1, `${winners.length} writers won`)
    await assertHolds(storage, KEY, bodies[winners[0] as number] as Buffer)
  }),
  storageCase('of concurrent puts one wins whole', 'mixes the bytes of two writers', async (storage) => {
    const bodies = Array.from({ length: 6 }, (_, index) => patterned(200_000 + index * 1000, index + 1))
    await Promise.all(bodies.map((body) => storage.put(KEY, streamOf(body, 7000))))
    const found = await readAll(await storage.get(KEY))
    assert.ok(
      bodies.some((body) => body.equals(found)),
      'the object is none of those that were put',
    )
  }),
  storageCase('puts of many keys at once do not disturb each other', 'shares state between puts', async (storage) => {
    const keys = Array.from({ length: 40 }, (_, index) => `plan/chain/${index % 7}/m${index}`)
    await Promise.all(keys.map((key, index) => storage.put(key, streamOf(patterned(20_000, index)))))
    for (const [index, key] of keys.entries()) await assertHolds(storage, key, patterned(20_000, index))
  }),
]
