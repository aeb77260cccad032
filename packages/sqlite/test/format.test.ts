import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import {
  type ChangesIndex,
  encodeIndex,
  encodePageHashesHeader,
  readIndex,
  readIndexBytes,
  readPageHashesHeader,
  type Step,
} from '../src/changes/format.ts'
import { HASH_BYTES } from '../src/changes/page-table.ts'
import { PieceReader } from '../src/changes/piece-reader.ts'
import { step } from './support/changes.ts'
import { randomFrom } from './support/ledger.ts'

const random = randomFrom(11)
const below = (number: number): number => Math.floor(random() * number)
const hex = (digits: number): string => Array.from({ length: digits }, () => below(16).toString(16)).join('')
const bytesOf = (length: number): Buffer => Buffer.from(Array.from({ length }, () => below(256)))

function randomIndex(): ChangesIndex {
  const pageSize = 512 << below(8)
  const steps: Step[] = []
  let count = 0
  for (let i = 0; i <= below(4); i++) {
    const commits = Array.from({ length: below(5) }, () => [below(2 ** 32), below(6)] as const)
    for (const [, written] of commits) count += written
    steps.push({
      ...step({ before: hex(32), after: hex(32), how: below(2) ? 'log' : 'comparison', lastCommit: below(1e15) }),
      commits,
      ...(below(2) && { reason: 'Grüße: "why"' }),
      ...(below(2) && { mark: { salts: hex(16), frame: below(2 ** 32), checksum: hex(16) } }),
    })
  }
  const pages = Uint32Array.from({ length: count }, () => below(2 ** 32))
  return { pageSize, steps, pages, hashes: bytesOf(count * HASH_BYTES) }
}

/** Reads from `bytes` in pieces of `piece`. */
function reader(bytes: Buffer, piece = 1_000) {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += piece) pieces.push(bytes.subarray(at, at + piece))
  return new PieceReader(Readable.from(pieces), bytes.length).read
}

const damaged = { code: 'MEMBER_DAMAGED' }

describe('the index of a member of changes', () => {
  test('is read as it was written, in whatever pieces, and not a byte further', async () => {
    for (let round = 0; round < 50; round++) {
      const index = randomIndex()
      const bytes = encodeIndex(index)
      const read = reader(Buffer.concat([bytes, Buffer.from('images')]), 1 + below(200))
      const found = await readIndex(read)
      expect({ ...found, hashes: [...found.hashes] }).toEqual({ ...index, hashes: [...index.hashes] })
      expect((await read(6)).toString()).toBe('images')
      expect((await readIndexBytes(reader(bytes))).equals(bytes)).toBe(true)
    }
  })

  test('is refused when any bit of it flipped', async () => {
    for (let round = 0; round < 5; round++) {
      const bytes = encodeIndex(randomIndex())
      for (let at = 0; at < bytes.length; at++) {
        const flipped = Buffer.from(bytes)
        flipped[at] = (flipped[at] as number) ^ (1 << below(8))
        await expect(readIndex(reader(flipped)), `byte ${at}`).rejects.toMatchObject(damaged)
      }
    }
  })

  test('is refused wherever it ends too early', async () => {
    const bytes = encodeIndex(randomIndex())
    for (let length = 0; length < bytes.length; length++) {
      await expect(readIndex(reader(bytes.subarray(0, length)))).rejects.toMatchObject(damaged)
    }
  })

  test.for<[string, object]>([
    ['an impossible page size', { pageSize: 1000 }],
    ['no steps', { steps: [] }],
    ['a step without a state', { steps: [{ ...step(), commits: [], after: 'x' }] }],
    ['a step of another kind', { steps: [{ ...step(), commits: [], how: 'guess' }] }],
    ['a bad mark', { steps: [{ ...step(), commits: [], mark: { salts: '', frame: 1, checksum: '' } }] }],
    ['commits that write more pages than there are', { steps: [{ ...step(), commits: [[1, 1]] }] }],
  ])('is refused with %s, although its SHA-256 is right', async ([, wrong]) => {
    const right = {
      pageSize: 512,
      steps: [{ ...step(), commits: [] }],
      pages: new Uint32Array(),
      hashes: Buffer.alloc(0),
    }
    await readIndex(reader(encodeIndex(right)))
    await expect(readIndex(reader(encodeIndex({ ...right, ...wrong } as ChangesIndex)))).rejects.toMatchObject(damaged)
  })
})

describe('the header of page hashes', () => {
  const header = { pageSize: 4096, pageCount: 7, state: 'ab'.repeat(16) }
  const mark = { salts: '01'.repeat(8), frame: 12, checksum: 'fe'.repeat(8) }

  test.for([header, { ...header, mark }])('is read as it was written: %o', async (one) => {
    const read = reader(Buffer.concat([encodePageHashesHeader(one), Buffer.from('hashes')]), 3)
    expect(await readPageHashesHeader(read)).toEqual(one)
    expect((await read(6)).toString()).toBe('hashes')
  })

  test('is refused when it is another file, cut, or tells nonsense', async () => {
    const bytes = encodePageHashesHeader({ ...header, mark })
    const wrong = [
      Buffer.alloc(0),
      Buffer.from('SQLite format 3\0'.repeat(10)),
      ...[...Array(bytes.length).keys()].map((length) => bytes.subarray(0, length)),
      encodePageHashesHeader({ ...header, pageSize: 100 }),
      encodePageHashesHeader({ ...header, pageCount: -1 }),
      encodePageHashesHeader({ ...header, state: 'AB' }),
      encodePageHashesHeader({ ...header, mark: { ...mark, salts: 'xyz' } }),
    ]
    for (const one of wrong) await expect(readPageHashesHeader(reader(one))).rejects.toMatchObject(damaged)
  })
})
