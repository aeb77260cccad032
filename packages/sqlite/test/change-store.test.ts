import { createReadStream, readdirSync, readFileSync, statSync } from 'node:fs'
import { zstdDecompressSync } from 'node:zlib'
import { FRAME_BYTES, framesIn } from '@taskflow-backup/core'
import { describe, expect } from 'vitest'
import { hashPage } from '../src/changes/page-table.ts'
import { ChangeStore } from '../src/child/change-store.ts'
import { PendingImages } from '../src/child/pending-images.ts'
import { decodeChanges, decodeChangesFile, step } from './support/changes.ts'
import { randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'

const PAGE = 512
const NONE = { algorithm: 'none', level: 0 } as const
const ZSTD = { algorithm: 'zstd', level: 3 } as const

const image = (number: number): Buffer => Buffer.alloc(PAGE, `page ${number};`)

/** One commit of the pages `from` to `to`. */
function commit(store: ChangeStore, from: number, to: number): void {
  store.begin()
  for (let page = from; page <= to; page++) store.add(page, hashPage(image(page)), image(page))
  store.endCommit(to)
}

const pagesIn = (images: Buffer): string[] =>
  Array.from({ length: images.length / PAGE }, (_, i) => images.toString('latin1', i * PAGE, (i + 1) * PAGE))
const expected = (...numbers: number[]): string[] => numbers.map((number) => image(number).toString('latin1'))

const STORES: [string, number][] = [
  ['in memory', 8 * 1024 * 1024],
  ['in a temporary file', 2 * PAGE],
]

test('many pages are compressed apart from their index, in frames of whole pages', async ({ place }) => {
  const store = new ChangeStore(PAGE, place.temporary)
  place.atEnd(() => store.clear())
  const sizesOf = async (file: string): Promise<(number | undefined)[]> => {
    const frames = []
    for await (const { plainBytes } of framesIn(createReadStream(file))) frames.push(plainBytes)
    return frames
  }
  commit(store, 1, 1023)
  store.endStep(step())
  const few = await store.write(place.path('few.changes'), ZSTD)
  expect(await sizesOf(place.path('few.changes'))).toEqual([few.plain.bytes])
  commit(store, 1, 5000)
  store.endStep(step({ firstCommit: 2, lastCommit: 2 }))
  const many = await store.write(place.path('many.changes'), ZSTD)
  const pages = 6023 * PAGE
  expect(await sizesOf(place.path('many.changes'))).toEqual([
    many.plain.bytes - pages,
    FRAME_BYTES,
    pages - FRAME_BYTES,
  ])
})

describe.for(STORES)('a change store, %s', ([, memoryBytes]) => {
  const open = (place: Place): ChangeStore => {
    const store = new ChangeStore(PAGE, place.temporary, memoryBytes)
    place.atEnd(() => store.clear())
    return store
  }

  test('writes what was put in: steps, commits, pages, hashes and images', async ({ place }) => {
    const store = open(place)
    commit(store, 1, 3)
    commit(store, 2, 2)
    store.endStep(step({ firstCommit: 1, lastCommit: 2 }))
    store.endStep(step({ firstCommit: 3, lastCommit: 2 })) // nothing happened
    commit(store, 7, 9)
    store.endStep(step({ firstCommit: 3, lastCommit: 3 }))
    const file = place.path('a.changes')
    const { plain, stored } = await store.write(file, NONE)
    expect(stored).toEqual(plain)
    expect(plain.bytes).toBe(statSync(file).size)
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const { index, images } = await decodeChangesFile(file)
    expect(index.steps.map(({ commits }) => commits)).toEqual([
      [
        [3, 3],
        [2, 1],
      ],
      [],
      [[9, 3]],
    ])
    expect([...index.pages]).toEqual([1, 2, 3, 2, 7, 8, 9])
    expect(pagesIn(images)).toEqual(expected(1, 2, 3, 2, 7, 8, 9))
    const hashes = [1, 2, 3, 2, 7, 8, 9].map((page) =>
      Buffer.from(new Uint8Array(hashPage(image(page)).buffer.slice(0))),
    )
    expect(Buffer.from(index.hashes).equals(Buffer.concat(hashes))).toBe(true)
    expect(readdirSync(place.temporary)).toEqual([]) // a spool has no name
  })

  test('writes a part, keeps it until it is cleared, and then only what came later', async ({ place }) => {
    const store = open(place)
    for (let number = 1; number <= 4; number++) {
      commit(store, number * 10, number * 10 + 1)
      store.endStep(step({ firstCommit: number, lastCommit: number }))
    }
    await store.write(place.path('two'), NONE, { to: 2 })
    expect(pagesIn((await decodeChangesFile(place.path('two'))).images)).toEqual(expected(10, 11, 20, 21))
    commit(store, 50, 50)
    store.clear(2)
    expect(store.steps.map(({ firstCommit }) => firstCommit)).toEqual([3, 4])
    commit(store, 60, 61)
    store.endStep(step({ firstCommit: 5, lastCommit: 5 }))
    await store.write(place.path('rest'), NONE)
    expect(pagesIn((await decodeChangesFile(place.path('rest'))).images)).toEqual(expected(30, 31, 40, 41, 50, 60, 61))
    store.clear()
    expect(store.pendingBytes).toBe(0)
    store.endStep(step())
    await store.write(place.path('nothing'), NONE)
    expect((await decodeChangesFile(place.path('nothing'))).images.length).toBe(0)
  })

  test('forgets a commit that was not ended', async ({ place }) => {
    const store = open(place)
    commit(store, 1, 2)
    const before = store.pendingBytes
    store.begin()
    for (let page = 5; page < 12; page++) store.add(page, hashPage(image(page)), image(page))
    expect(store.pendingBytes).toBeGreaterThan(before)
    commit(store, 3, 3)
    store.endStep(step({ lastCommit: 2 }))
    await store.write(place.path('a'), NONE)
    expect(pagesIn((await decodeChangesFile(place.path('a'))).images)).toEqual(expected(1, 2, 3))
  })

  test('takes more while it is written', async ({ place }) => {
    const store = open(place)
    commit(store, 1, 5_000)
    store.endStep(step())
    const writing = store.write(place.path('a'), ZSTD)
    commit(store, 6_000, 11_000)
    store.endStep(step())
    const { plain, stored } = await writing
    const bytes = readFileSync(place.path('a'))
    expect(stored.bytes).toBe(bytes.length)
    const frames = zstdDecompressSync(bytes.subarray(0, bytes.length))
    expect(frames.length).toBeLessThanOrEqual(plain.bytes)
    const { index } = await decodeChanges(frames)
    expect(index.pages.length).toBe(5_000)
  })

  test('forgets what is behind while it is written', async ({ place }) => {
    const store = open(place)
    commit(store, 1, 5_000)
    store.endStep(step())
    const writing = store.write(place.path('a'), NONE)
    commit(store, 6_000, 11_000)
    store.endStep(step())
    store.truncate(1)
    commit(store, 7_000, 7_002)
    store.endStep(step())
    await writing
    const first = Array.from({ length: 5_000 }, (_, i) => i + 1)
    expect(pagesIn((await decodeChangesFile(place.path('a'))).images)).toEqual(expected(...first))
    await store.write(place.path('b'), NONE)
    const { index, images } = await decodeChangesFile(place.path('b'))
    expect(index.steps.length).toBe(2)
    expect(pagesIn(images)).toEqual(expected(...first, 7_000, 7_001, 7_002))
  })
})

describe('pending images', () => {
  test.for([10, 1_000, 1_000_000])('give back any range after any work, with %d bytes in memory', (most, { place }) => {
    const random = randomFrom(most)
    const below = (number: number): number => Math.floor(random() * number)
    const images = new PendingImages(place.temporary, most)
    place.atEnd(() => images.drop(images.length))
    let all = Buffer.alloc(0)
    for (let round = 0; round < 300; round++) {
      const what = below(10)
      if (what < 7) {
        const piece = Buffer.alloc(below(5_000), below(256))
        images.append(piece)
        all = Buffer.concat([all, piece])
      } else {
        const length = below(all.length + 1)
        if (what < 9) {
          images.truncate(all.length - Math.min(length, 3_000))
          all = all.subarray(0, all.length - Math.min(length, 3_000))
        } else {
          images.drop(Math.min(length, 20_000))
          all = all.subarray(Math.min(length, 20_000))
        }
      }
      expect(images.length).toBe(all.length)
      const at = below(all.length + 1)
      const length = below(all.length - at + 1)
      expect(images.read(at, length).equals(all.subarray(at, at + length))).toBe(true)
    }
  })

  test('without room for a temporary file: an error that says where', ({ place }) => {
    const images = new PendingImages(place.path('missing'), 10)
    images.append(Buffer.alloc(10))
    expect(() => images.append(Buffer.alloc(1))).toThrow(
      expect.objectContaining({ code: 'TARGET_INVALID', message: expect.stringContaining(place.path('missing')) }),
    )
  })
})
