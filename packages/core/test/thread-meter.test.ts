import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { patterned, streamOf } from '../../testing/src/index.ts'
import { copyToShared, type ManifestMember, Meter, meterFor, ThreadMeter } from '../src/index.ts'
import { unpackMember } from '../src/pipeline/member.ts'
import { codeOf } from './support/text.ts'

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

function start(): ThreadMeter {
  const meter = ThreadMeter.start()
  if (!meter) throw new Error('no thread')
  return meter
}

test('copies any part of a buffer to any place of shared memory, and nothing else', () => {
  const place = fc.nat(64)
  fc.assert(
    fc.property(place, place, place, fc.nat(5000), (at, start, after, length) => {
      const source = patterned(start + length + after)
      const target = Buffer.from(new SharedArrayBuffer(at + length + 16)).fill(0xee)
      const expected = Buffer.alloc(target.length, 0xee)
      expected.set(source.subarray(start, start + length), at)
      copyToShared(target, at, source, start, start + length)
      expect(target.equals(expected)).toBe(true)
    }),
  )
})

test.each([
  ['its own', (length: number) => Buffer.alloc(length)],
  ['shared', (length: number) => Buffer.from(new SharedArrayBuffer(length))],
])('hashes whatever pieces come in %s memory, though they change as soon as they were taken in', async (_, memory) => {
  const lengths = fc.array(fc.oneof(fc.nat(300), fc.nat(3_000_000)), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(lengths, async (pieces) => {
      const [expected, meter] = [new Meter(), start()]
      for (const [index, length] of pieces.entries()) {
        const piece = memory(length)
        piece.set(patterned(length).map((byte) => byte + index))
        expected.update(piece)
        await meter.update(piece)
        piece.fill(0)
      }
      const facts = await meter.facts()
      await meter.end()
      expect(facts).toEqual(expected.facts())
      expect(meter.bytes).toBe(facts.bytes)
    }),
    { numRuns: 6 },
  )
})

test('keeps the order of pieces that it is given without waiting, in memory of both kinds', async () => {
  const [expected, meter] = [new Meter(), start()]
  const taken: (Promise<unknown> | undefined)[] = []
  for (let round = 0; round < 30; round++) {
    const plain = patterned(round * 30_000).map((byte) => byte + round)
    const shared = Buffer.from(new SharedArrayBuffer(plain.length))
    shared.set(plain)
    expected.update(plain)
    taken.push(meter.update(round % 3 === 0 ? shared : Buffer.from(plain)))
  }
  await Promise.all(taken)
  expect(await meter.facts()).toEqual(expected.facts())
  await meter.end()
})

test('a thread that ends early is an error, not a wait', async () => {
  const meter = start()
  const waiting = Promise.allSettled([meter.update(Buffer.from(new SharedArrayBuffer(1_000_000)))])
  await meter.end()
  await waiting
  expect(await codeOf(meter.facts())).toBe('INTERNAL')
  const other = start()
  await other.end()
  const large = Buffer.alloc(32 * 1024 * 1024)
  expect(await codeOf((async () => other.update(large))())).toBe('INTERNAL')
})

test('no thread is started for what is short', () => {
  expect(meterFor(1_000_000)).toBeInstanceOf(Meter)
})

describe('unpackMember with a thread', () => {
  const plain = patterned(20_000_000)
  const zstd = zstdCompressSync(plain)
  const memberOf = (stored: Buffer): ManifestMember => ({
    name: 'a.db',
    file: 'a.db.zst',
    codecs: stored === plain ? [] : [{ name: 'zstd' }],
    plain: { bytes: plain.length, sha256: sha256(plain) },
    stored: { bytes: stored.length, sha256: sha256(stored) },
  })
  const unpack = (member: ManifestMember, stored: Buffer): AsyncGenerator<Buffer> =>
    unpackMember(member, streamOf(stored), () => {}, { plainHashing: 'thread' })
  const threads = (): string[] => process.getActiveResourcesInfo().filter((name) => name === 'MessagePort')

  describe.each([
    ['zstd', zstd],
    ['no codec', plain],
  ])('and %s', (_, stored) => {
    test('gives the plain content', async () => {
      const pieces: Buffer[] = []
      for await (const piece of unpack(memberOf(stored), stored)) pieces.push(Buffer.from(piece))
      expect(Buffer.concat(pieces).equals(plain)).toBe(true)
    })

    test.each(['plain', 'stored'] as const)(
      'fails for another %s hash or length than the manifest says',
      async (side) => {
        const right = memberOf(stored)
        for (const change of [
          { sha256: '0'.repeat(64) },
          { bytes: right[side].bytes - 1 },
          { bytes: right[side].bytes + 1 },
        ]) {
          const read = async (): Promise<void> => {
            for await (const _ of unpack({ ...right, [side]: { ...right[side], ...change } }, stored));
          }
          expect(await codeOf(read()), JSON.stringify(change)).toBe('MEMBER_DAMAGED')
        }
      },
    )
  })

  test('leaves no thread, however it ends', async () => {
    const before = threads().length
    for await (const _ of unpack(memberOf(zstd), zstd)) break
    const cut = unpack(memberOf(zstd), zstd.subarray(0, zstd.length / 2))
    await expect(Readable.from(cut).toArray()).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
    expect(threads().length).toBe(before)
  })
})
