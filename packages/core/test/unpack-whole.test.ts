import { createHash } from 'node:crypto'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { patterned, streamOf } from '../../testing/src/index.ts'
import { type ManifestMember, unpackMember, unpackWhole } from '../src/index.ts'
import { codeOf } from './support/text.ts'

const facts = (bytes: Buffer) => ({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') })

const member = (codec: string, plain: Buffer, stored: Buffer): ManifestMember => ({
  name: 'a.changes',
  file: 'a.changes.zst',
  codecs: codec === 'none' ? [] : [{ name: codec }],
  plain: facts(plain),
  stored: facts(stored),
})

async function unpacked(from: ManifestMember, stored: Buffer): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const piece of unpackWhole(from, stored)) all.push(Buffer.from(piece))
  return Buffer.concat(all)
}

const zstdOf = (plain: Buffer): Buffer => zstdCompressSync(plain, { pledgedSrcSize: plain.length } as object)

const STORED: Record<string, (plain: Buffer) => Buffer> = {
  none: (plain) => plain,
  gzip: (plain) => gzipSync(plain),
  zstd: zstdOf,
}

test.each(Object.keys(STORED))('%s gives what was stored, and leaves the stored bytes alone', async (codec) => {
  for (const length of [0, 1, 100, 70_000]) {
    const plain = patterned(length)
    // In one buffer with a byte of what comes next.
    const stored = Buffer.concat([STORED[codec]?.(plain) as Buffer, Buffer.from('x')])
    const own = stored.subarray(0, -1)
    expect((await unpacked(member(codec, plain, own), own)).equals(plain), `${length}`).toBe(true)
    expect(stored.at(-1)).toBe('x'.charCodeAt(0))
  }
})

test('content in several frames is given whole', async () => {
  const plain = patterned(10_000)
  const stored = Buffer.concat([zstdOf(plain.subarray(0, 4000)), zstdOf(plain.subarray(4000))])
  expect((await unpacked(member('zstd', plain, stored), stored)).equals(plain)).toBe(true)
})

test.each(Object.keys(STORED))('%s with anything else than its manifest says is refused by name', async (codec) => {
  const plain = patterned(5000)
  const stored = STORED[codec]?.(plain) as Buffer
  const right = member(codec, plain, stored)
  const flipped = Buffer.from(stored)
  flipped[stored.length >> 1] = (flipped[stored.length >> 1] as number) ^ 1
  const other = patterned(5001).subarray(1)
  const wrong: [string, ManifestMember, Buffer][] = [
    ['flipped', right, flipped],
    ['shorter', right, stored.subarray(0, -1)],
    ['longer', right, Buffer.concat([stored, Buffer.from('x')])],
    ['empty', right, Buffer.alloc(0)],
    ['another plain hash', { ...right, plain: facts(other) }, stored],
    ['another plain length', { ...right, plain: { ...right.plain, bytes: 4999 } }, stored],
    ['no such data', member(codec, plain, other), codec === 'none' ? flipped : other],
  ]
  for (const [what, from, bytes] of wrong) {
    const failure = unpacked(from, bytes)
    expect(await codeOf(failure), what).toBe('MEMBER_DAMAGED')
    await expect(failure, what).rejects.toThrow(/a\.changes/)
  }
})

test('a codec that nothing undoes is refused', async () => {
  const plain = patterned(10)
  expect(await codeOf(unpacked(member('rot13', plain, plain), plain))).toBe('CODEC_UNKNOWN')
})

describe.each(['one go', 'pieces'])('in %s, for a caller that checks the content by itself', (how) => {
  const settings = { plainHashing: 'not' } as const
  async function unpackedUnhashed(from: ManifestMember, stored: Buffer): Promise<Buffer> {
    const all: Buffer[] = []
    const pieces =
      how === 'pieces' ? unpackMember(from, streamOf(stored), () => {}, settings) : unpackWhole(from, stored, settings)
    for await (const piece of pieces) all.push(Buffer.from(piece))
    return Buffer.concat(all)
  }

  test.each(Object.keys(STORED))('%s is held against the hash of what is stored, and the length', async (codec) => {
    const plain = patterned(5000)
    const stored = STORED[codec]?.(plain) as Buffer
    const right = member(codec, plain, stored)
    expect((await unpackedUnhashed(right, stored)).equals(plain)).toBe(true)
    const wrong: ManifestMember[] = [
      { ...right, stored: { ...right.stored, sha256: '0'.repeat(64) } },
      { ...right, plain: { ...right.plain, bytes: 4999 } },
      { ...right, plain: { ...right.plain, bytes: 5001 } },
    ]
    for (const from of wrong) expect(await codeOf(unpackedUnhashed(from, stored))).toBe('MEMBER_DAMAGED')
    const other = { ...right, plain: { ...right.plain, sha256: '0'.repeat(64) } }
    // What was not encoded has one hash only.
    if (codec === 'none') expect(await codeOf(unpackedUnhashed(other, stored))).toBe('MEMBER_DAMAGED')
    else expect((await unpackedUnhashed(other, stored)).equals(plain)).toBe(true)
  })
})
