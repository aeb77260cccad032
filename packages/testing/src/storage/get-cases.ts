import assert from 'node:assert/strict'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { patterned, readAll, streamOf } from '../bytes.ts'
import { rejects, settled } from '../expect.ts'
import { storageCase } from './subject.ts'

const MIB = 1024 * 1024
const KEY = 'plan/chain/backup/member.db'
/** What may lie in memory of an object that is read slowly. */
const BOUND_BYTES = 8 * MIB

export const getCases = [
  storageCase('get gives the range that was asked for', 'ignores the range', async (storage) => {
    const bytes = patterned(700_001)
    await storage.put(KEY, streamOf(bytes))
    for (const [offset, length] of [
      [0, 1],
      [0, 700_001],
      [1, 5],
      [262_143, 3],
      [300_000, 300_000],
      [700_000, 1],
    ] as const) {
      const found = await readAll(await storage.get(KEY, { range: { offset, length } }))
      assert.ok(found.equals(bytes.subarray(offset, offset + length)), `bytes ${offset}+${length}`)
    }
    for (const offset of [0, 1, 699_999]) {
      const found = await readAll(await storage.get(KEY, { range: { offset } }))
      assert.ok(found.equals(bytes.subarray(offset)), `bytes from ${offset}`)
    }
  }),
  storageCase('a range of no bytes gives none', 'takes a length of 0 for no length', async (storage) => {
    await storage.put(KEY, patterned(100))
    assert.equal((await readAll(await storage.get(KEY, { range: { offset: 10, length: 0 } }))).length, 0)
  }),
  storageCase('a range past the end gives what there is', 'fails or pads past the end', async (storage) => {
    const bytes = patterned(100)
    await storage.put(KEY, bytes)
    assert.ok((await readAll(await storage.get(KEY, { range: { offset: 90, length: 50 } }))).equals(bytes.subarray(90)))
    assert.equal((await readAll(await storage.get(KEY, { range: { offset: 100 } }))).length, 0)
    assert.equal((await readAll(await storage.get(KEY, { range: { offset: 5000, length: 10 } }))).length, 0)
  }),
  storageCase(
    'get of a missing object rejects with OBJECT_MISSING',
    'gives an empty stream or another error',
    async (storage) => {
      await rejects(storage.get('no/such/object'), 'get', 'OBJECT_MISSING')
      await rejects(
        storage.get('no/such/object', { range: { offset: 3, length: 4 } }),
        'get of a range',
        'OBJECT_MISSING',
      )
    },
  ),
  storageCase('stat of a missing object is undefined', 'throws or invents an object', async (storage) => {
    assert.equal(await storage.stat('no/such/object'), undefined)
  }),
  storageCase('stat tells key, size and time', 'tells a wrong key, size or time', async (storage) => {
    const before = Date.now()
    await storage.put(KEY, patterned(1234))
    const info = await storage.stat(KEY)
    assert.equal(info?.key, KEY)
    assert.equal(info?.sizeBytes, 1234)
    assert.ok(info?.modifiedAt instanceof Date, 'modifiedAt is no Date')
    // Clocks of servers differ; a time that is off by more than a day is made up.
    assert.ok(
      Math.abs(info.modifiedAt.getTime() - before) < 86_400_000,
      `modifiedAt is ${info.modifiedAt.toISOString()}`,
    )
  }),
  storageCase('delete removes an object', 'leaves the object', async (storage) => {
    await storage.put(KEY, patterned(10))
    await storage.put(`${KEY}.2`, patterned(20))
    assert.equal(await storage.delete(KEY), undefined)
    assert.equal(await storage.stat(KEY), undefined)
    await rejects(storage.get(KEY), 'get of a deleted object', 'OBJECT_MISSING')
    assert.equal((await storage.stat(`${KEY}.2`))?.sizeBytes, 20, 'another object went as well')
  }),
  storageCase('delete of a missing object is no error', 'throws when there is nothing to delete', async (storage) => {
    await storage.delete('no/such/object')
    await storage.put(KEY, patterned(10))
    await storage.delete(KEY)
    await storage.delete(KEY)
  }),
  storageCase(
    'get refuses to begin when it is aborted already',
    'does not look at its signal before reading',
    async (storage) => {
      await storage.put(KEY, patterned(10))
      await rejects(storage.get(KEY, { signal: AbortSignal.abort() }).then(readAll), 'get', 'ABORTED')
    },
  ),
  storageCase('an abort ends a read with ABORTED', 'goes on reading after an abort', async (storage) => {
    await storage.put(KEY, streamOf(patterned(8 * MIB)))
    const aborter = new AbortController()
    const body = await storage.get(KEY, { signal: aborter.signal })
    const reading = (async () => {
      let pieces = 0
      for await (const _ of body) {
        if (++pieces === 1) aborter.abort()
        await sleep(1)
      }
    })()
    await rejects(reading, 'the read', 'ABORTED')
  }),
  storageCase(
    'a slow reader does not make the whole object wait in memory',
    'buffers without bound',
    async (storage) => {
      await storage.put(KEY, streamOf(patterned(24 * MIB)))
      const body = await storage.get(KEY)
      const pieces = body[Symbol.asyncIterator]()
      const first = (await pieces.next()).value as Buffer
      await sleep(50)
      const waiting = first.length + body.readableLength
      await pieces.return?.()
      assert.ok(waiting <= BOUND_BYTES, `${waiting} bytes wait for the reader`)
    },
  ),
  storageCase('a body that is never read can be destroyed', 'fails when a read is given up', async (storage) => {
    await storage.put(KEY, streamOf(patterned(2 * MIB)))
    for (const read of [0, 1]) {
      const body = await storage.get(KEY)
      if (read > 0) await body[Symbol.asyncIterator]().next()
      await closed(body)
    }
    assert.equal((await readAll(await storage.get(KEY))).length, 2 * MIB)
  }),
  storageCase(
    'an object deleted or replaced while it is read is whole or an error',
    'cuts a read short without an error',
    async (storage) => {
      const bytes = patterned(6 * MIB)
      const changes = [() => storage.delete(KEY), () => storage.put(KEY, patterned(1000)).then(() => {})]
      for (const change of changes) {
        await storage.put(KEY, streamOf(bytes))
        const body = await storage.get(KEY)
        const pieces: Buffer[] = []
        const reading = (async () => {
          for await (const piece of body) {
            if (pieces.push(piece as Buffer) === 1) await change()
          }
        })()
        const outcome = await settled(reading, 'the read')
        if ('value' in outcome)
          assert.ok(Buffer.concat(pieces).equals(bytes), 'the read ended without an error, and is not whole')
      }
    },
  ),
  storageCase(
    'many reads of one object at once are independent',
    'shares a position between reads',
    async (storage) => {
      const bytes = patterned(900_000)
      await storage.put(KEY, streamOf(bytes))
      const reads = Array.from({ length: 8 }, async (_, index) =>
        readAll(await storage.get(KEY, { range: { offset: index } })),
      )
      for (const [index, found] of (await Promise.all(reads)).entries())
        assert.ok(found.equals(bytes.subarray(index)), `read ${index}`)
    },
  ),
]

async function closed(body: Readable): Promise<void> {
  const close = new Promise<void>((resolve, reject) => body.once('close', resolve).once('error', reject))
  body.destroy()
  const outcome = await settled(close, 'a destroyed body')
  if ('error' in outcome) throw outcome.error
}
