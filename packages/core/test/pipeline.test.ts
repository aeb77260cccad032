import { createHash } from 'node:crypto'
import { PassThrough, type Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { brokenStream, patterned, readAll, settled, streamOf } from '../../testing/src/index.ts'
import { BackupError, inOrder, type Member, Meter } from '../src/index.ts'
import { fanOut, type Sink } from '../src/pipeline/fan-out.ts'
import { checkStored, decodeMember, outgoing, unpackMember } from '../src/pipeline/member.ts'
import { codeOf } from './support/text.ts'

const sink = (name: string, receive: Sink['receive'], required = true): Sink => ({ name, required, receive })
const taking = (into: Record<string, Buffer>, name: string, required = true): Sink =>
  sink(
    name,
    async (body) => {
      into[name] = await readAll(body)
    },
    required,
  )
const failing = (name: string, required: boolean): Sink =>
  sink(
    name,
    async (body) => {
      for await (const _ of body) throw new BackupError('STORAGE_FULL', `${name} is full`)
    },
    required,
  )

/** A stored piece is gone when the next one is asked for. */
async function* copies(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const piece of pieces) yield Buffer.from(piece)
}

describe('fan-out', () => {
  test('gives every sink all the bytes', async () => {
    const into: Record<string, Buffer> = {}
    const bytes = patterned(12_000_000)
    expect(await fanOut(streamOf(bytes), [taking(into, 'a'), taking(into, 'b')])).toEqual([
      { name: 'a' },
      { name: 'b' },
    ])
    expect(into.a?.equals(bytes) && into.b?.equals(bytes)).toBe(true)
    expect(await fanOut(streamOf(Buffer.alloc(0)), [taking(into, 'a')])).toEqual([{ name: 'a' }])
    expect(into.a?.length).toBe(0)
  })

  test('goes at the pace of the slowest', async () => {
    let given = 0
    const source = async function* () {
      for (; given < 64; given++) yield patterned(1024 * 1024)
    }
    let taken = 0
    const slow = sink('slow', async (body) => {
      for await (const _ of body) {
        if (++taken === 2) await sleep(100)
        if (taken > 2 && taken < 10) expect(given - taken).toBeLessThan(8)
      }
    })
    await fanOut(source(), [slow, taking({}, 'fast')])
    expect(given).toBe(64)
  })

  test('leaves out an optional sink that fails', async () => {
    const into: Record<string, Buffer> = {}
    const bytes = patterned(20_000_000)
    const [bad, good] = await fanOut(streamOf(bytes), [failing('bad', false), taking(into, 'good')])
    expect(bad?.error).toMatchObject({ code: 'STORAGE_FULL' })
    expect(good?.error).toBeUndefined()
    expect(into.good?.equals(bytes)).toBe(true)
  })

  test('fails with a required sink that fails, and ends the others with an error', async () => {
    let ended: unknown
    const other = sink('other', (body) => readAll(body).catch((error: unknown) => (ended = error)), false)
    const work = fanOut(streamOf(patterned(20_000_000)), [failing('bad', true), other])
    expect(await codeOf(work)).toBe('STORAGE_FULL')
    expect(ended).toBeInstanceOf(Error)
  })

  test('fails when a required sink fails at the very end, or at once', async () => {
    const late = sink('late', async (body) => {
      await readAll(body)
      throw new BackupError('STORAGE_FAILED', 'late')
    })
    const early = sink('early', async () => Promise.reject(new BackupError('STORAGE_DENIED', 'early')))
    expect(await codeOf(fanOut(streamOf(patterned(100)), [late]))).toBe('STORAGE_FAILED')
    expect(await codeOf(fanOut(streamOf(patterned(9_000_000)), [early]))).toBe('STORAGE_DENIED')
    expect(await codeOf(fanOut(streamOf(Buffer.alloc(0)), [early]))).toBe('STORAGE_DENIED')
  })

  test('fails with the source, and ends every sink with an error', async () => {
    const ends: unknown[] = []
    const sinks = ['a', 'b'].map((name) =>
      sink(name, (body) => readAll(body).catch((error: unknown) => ends.push(error)), name === 'a'),
    )
    const source = brokenStream(patterned(1000), new BackupError('SOURCE_UNREADABLE', 'broken'))
    expect(await codeOf(fanOut(source, sinks))).toBe('SOURCE_UNREADABLE')
    expect(ends).toEqual([
      expect.objectContaining({ code: 'SOURCE_UNREADABLE' }),
      expect.objectContaining({ code: 'SOURCE_UNREADABLE' }),
    ])
  })

  test('does not take a sink that stops early for one that took all', async () => {
    const lazy = sink('lazy', async (body) => void (await body[Symbol.asyncIterator]().next()))
    const outcome = await settled(fanOut(streamOf(patterned(30_000_000)), [lazy]), 'the fan-out')
    expect(outcome).toMatchObject({ error: { code: 'CONTRACT_BROKEN' } })
  })
})

const member = (body: Readable, more: Partial<Member> = {}): Member => ({ name: 'a.db', body, ...more })
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe('members', () => {
  const plain = patterned(3_000_000)

  test.each(['zstd', 'gzip', 'none'] as const)('come back through %s', async (algorithm) => {
    const out = outgoing(member(streamOf(plain)), { algorithm, level: 3 })
    const stored = await readAll(copies(out.stored))
    const facts = out.facts()
    expect(facts).toMatchObject({
      name: 'a.db',
      plain: { bytes: plain.length, sha256: sha256(plain) },
      stored: { bytes: stored.length, sha256: sha256(stored) },
    })
    expect((await readAll(decodeMember(facts, streamOf(stored), () => {}))).equals(plain)).toBe(true)
    await checkStored(facts, streamOf(stored), () => {})

    const changes: Record<string, Buffer> = {
      shorter: stored.subarray(0, -1),
      empty: Buffer.alloc(0),
      longer: Buffer.concat([stored, Buffer.from('x')]),
      'twice as long': Buffer.concat([stored, stored]),
    }
    for (const at of [0, 5, stored.length >> 1, stored.length - 1]) {
      changes[`flipped at ${at}`] = Buffer.concat([
        stored.subarray(0, at),
        Buffer.from([(stored[at] as number) ^ 1]),
        stored.subarray(at + 1),
      ])
    }
    for (const [change, bytes] of Object.entries(changes)) {
      const object = streamOf(bytes)
      expect(await codeOf(readAll(decodeMember(facts, object, () => {}))), change).toBe('MEMBER_DAMAGED')
      expect(object.destroyed, change).toBe(true)
      expect(await codeOf(checkStored(facts, streamOf(bytes), () => {})), change).toBe('MEMBER_DAMAGED')
    }
    const wrong = { ...facts, plain: { ...facts.plain, sha256: '0'.repeat(64) } }
    expect(await codeOf(readAll(decodeMember(wrong, streamOf(stored), () => {})))).toBe('MEMBER_DAMAGED')
  })

  test('encoded at their source skip the stage', async () => {
    const body = patterned(1000)
    const encoded = { codecs: [{ name: 'zstd', level: 3 }], plain: () => ({ bytes: 5, sha256: '1'.repeat(64) }) }
    const out = outgoing(member(streamOf(body), { encoded }), { algorithm: 'gzip', level: 6 })
    expect(out.file).toBe('a.db.zst')
    expect((await readAll(copies(out.stored))).equals(body)).toBe(true)
    expect(out.facts()).toMatchObject({ codecs: encoded.codecs, plain: { bytes: 5 }, stored: { bytes: 1000 } })
  })

  test.each<[string, Partial<Member>]>([
    ['a path', { name: '../a' }],
    ['nothing', { name: '' }],
    ['a device', { name: 'con' }],
    ['the name of the manifest', { name: 'manifest.json' }],
    ['the name of a verification', { name: 'verified.stored.passed.json' }],
    ['the name of a half-written object', { name: 'a.partial' }],
    [
      'a codec that nothing undoes',
      { encoded: { codecs: [{ name: 'rot13' }], plain: () => ({ bytes: 0, sha256: '' }) } },
    ],
  ])('with %s are refused, and their source is told', (_what, more) => {
    const body = streamOf(plain)
    expect(() => outgoing(member(body, more), { algorithm: 'none', level: 0 })).toThrow(
      expect.objectContaining({ code: 'CONTRACT_BROKEN' }),
    )
    expect(body.destroyed).toBe(true)
  })

  test('let go of the stored object when they are not read', async () => {
    const out = outgoing(member(streamOf(plain)), { algorithm: 'zstd', level: 1 })
    const stored = await readAll(copies(out.stored))
    const object = streamOf(stored)
    decodeMember(out.facts(), object, () => {}).destroy()
    await expect.poll(() => object.destroyed).toBe(true)
    const unknown = streamOf(stored)
    expect(() => decodeMember({ ...out.facts(), codecs: [{ name: 'lz4' }] }, unknown, () => {})).toThrow(
      expect.objectContaining({ code: 'CODEC_UNKNOWN' }),
    )
    expect(unknown.destroyed).toBe(true)
  })

  test('fail with the error of the storage', async () => {
    const out = outgoing(member(streamOf(plain)), { algorithm: 'none', level: 0 })
    await readAll(copies(out.stored))
    const broken = brokenStream(plain.subarray(0, 1000), new Error('connection reset'))
    expect(await codeOf(readAll(decodeMember(out.facts(), broken, () => {})))).toBe('STORAGE_FAILED')
  })
})

describe('the memory of decoded frames', () => {
  const facts = (plain: Buffer, stored: Buffer) => ({
    name: 'a.db',
    file: 'a.db.zst',
    codecs: [{ name: 'zstd' }],
    plain: { bytes: plain.length, sha256: sha256(plain) },
    stored: { bytes: stored.length, sha256: sha256(stored) },
  })

  test('is freed once they have passed, and a piece that may be kept is a copy', async () => {
    const plain = patterned(5_000_000)
    const out = outgoing(member(streamOf(plain)), { algorithm: 'zstd', level: 1 })
    const stored = await readAll(copies(out.stored))
    const passed: Buffer[] = []
    for await (const piece of unpackMember(out.facts(), streamOf(stored), () => {})) passed.push(piece)
    expect(passed.every((piece) => piece.length === 0)).toBe(true)
    const kept = await decodeMember(out.facts(), streamOf(stored), () => {}).toArray()
    expect(Buffer.concat(kept).equals(plain)).toBe(true)
  })

  test('is never one that others share, however small the frames are', async () => {
    const size = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 1000, max: 300_000 }))
    await fc.assert(
      fc.asyncProperty(fc.array(size, { maxLength: 8 }), fc.integer({ min: 1, max: 100_000 }), async (sizes, piece) => {
        const frames = sizes.map((length) => patterned(length))
        const plain = Buffer.concat(frames)
        const stored = Buffer.concat(
          frames.map((frame) => zstdCompressSync(frame, { pledgedSrcSize: frame.length } as object)),
        )
        // Small buffers lie in one pool with what a decoder asks for beside them.
        const beside: Buffer[] = []
        const decoded: Buffer[] = []
        for await (const one of unpackMember(facts(plain, stored), streamOf(stored, piece), () => {
          beside.push(Buffer.from('mine'))
        })) {
          decoded.push(Buffer.from(one))
        }
        expect(Buffer.concat(decoded).equals(plain)).toBe(true)
        expect(beside.every((mine) => mine.toString() === 'mine')).toBe(true)
        expect(stored.length).toBe(facts(plain, stored).stored.bytes)
      }),
      { numRuns: 60 },
    )
  })

  test.each(['plain', 'stored'] as const)('is not what hides a wrong %s hash at the end', async (side) => {
    const plain = patterned(5_000_000)
    const stored = zstdCompressSync(plain)
    const right = facts(plain, stored)
    const wrong = { ...right, [side]: { ...right[side], sha256: '0'.repeat(64) } }
    const read = async (): Promise<void> => {
      for await (const _ of unpackMember(wrong, streamOf(stored), () => {}));
    }
    expect(await codeOf(read())).toBe('MEMBER_DAMAGED')
  })
})

test('inOrder keeps the order, bounds what is in flight, and throws at the place of the failure', async () => {
  let running = 0
  let most = 0
  const work = async (item: number): Promise<number> => {
    most = Math.max(most, ++running)
    await sleep((item * 7) % 5)
    running--
    if (item === 30) throw new Error('thirty')
    return item
  }
  const seen: number[] = []
  const reading = (async () => {
    for await (const item of inOrder(
      Array.from({ length: 50 }, (_, index) => index),
      4,
      work,
    ))
      seen.push(item)
  })()
  await expect(reading).rejects.toThrow('thirty')
  expect(seen).toEqual(Array.from({ length: 30 }, (_, index) => index))
  expect(most).toBeLessThanOrEqual(5)
})

test('a meter counts and hashes what passes, in small pieces', async () => {
  const meter = new Meter()
  const bytes = patterned(3_500_000)
  const sizes: number[] = []
  const source = new PassThrough({ highWaterMark: 2 ** 23 })
  source.end(bytes)
  for await (const piece of meter.through(source)) sizes.push(piece.length)
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1024 * 1024)
  expect(meter.facts()).toEqual({ bytes: bytes.length, sha256: sha256(bytes) })
})
