import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { patterned, streamOf } from '../../testing/src/index.ts'
import type { ManifestMember } from '../src/index.ts'
import { HashThread } from '../src/pipeline/hash-thread.ts'
import { unpackMember } from '../src/pipeline/member.ts'
import { codeOf } from './support/text.ts'

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

test('a thread hashes whatever pieces come, though they change as soon as they were taken in', async () => {
  const lengths = fc.array(fc.oneof(fc.nat(300), fc.nat(3_000_000)), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(lengths, async (pieces) => {
      const expected = createHash('sha256')
      const thread = HashThread.start()
      if (!thread) throw new Error('no thread')
      for (const [index, length] of pieces.entries()) {
        const piece = patterned(length).map((byte) => byte + index)
        expected.update(piece)
        await thread.update(piece)
        piece.fill(0)
      }
      const digest = await thread.digest()
      await thread.end()
      expect(digest).toBe(expected.digest('hex'))
    }),
    { numRuns: 20 },
  )
})

test('a thread that ends early is an error, not a wait', async () => {
  const thread = HashThread.start() as HashThread
  await thread.end()
  expect(await codeOf(thread.digest())).toBe('INTERNAL')
  const other = HashThread.start() as HashThread
  await other.end()
  expect(await codeOf(other.update(Buffer.alloc(32 * 1024 * 1024)))).toBe('INTERNAL')
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
    unpackMember(member, streamOf(stored), () => {}, { hashInThread: true })
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
