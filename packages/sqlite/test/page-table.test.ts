import { describe, expect, test } from 'vitest'
import { HASH_BYTES, hashPage, PageTable, wordsOf } from '../src/changes/page-table.ts'
import { randomFrom } from './support/ledger.ts'

const PAGE = 512
const page = (fill: number): Buffer => Buffer.alloc(PAGE, fill)

/** The table of these pages, made in one go. */
function tableOf(pages: readonly number[]): PageTable {
  const table = new PageTable(PAGE, pages.length)
  pages.forEach((fill, index) => void table.set(index + 1, hashPage(page(fill))))
  return table
}

describe('a table of page hashes', () => {
  test('has after any changes the state and bytes that one made in one go has', () => {
    const random = randomFrom(3)
    const below = (number: number): number => Math.floor(random() * number)
    for (let round = 0; round < 20; round++) {
      const table = new PageTable(PAGE)
      let pages: number[] = []
      for (let change = 0; change < 200; change++) {
        if (below(10) === 0) {
          const length = below(5_000)
          pages = Array.from({ length }, (_, index) => pages[index] ?? 0)
          table.resize(length)
        } else if (pages.length > 0) {
          const [at, fill] = [below(pages.length), below(4)]
          const isAnother = pages[at] !== fill
          pages[at] = fill
          expect(table.set(at + 1, hashPage(page(fill)))).toBe(isAnother)
        }
      }
      const expected = tableOf(pages)
      expect(table.state).toBe(expected.state)
      expect(table.pageCount).toBe(pages.length)
      expect(table.bytes.equals(expected.bytes)).toBe(true)
      const copy = PageTable.from(PAGE, table.bytes)
      expect(copy.state).toBe(table.state)
      if (pages.length > 0) {
        copy.set(1, hashPage(page(77)))
        expect(copy.state).not.toBe(table.state)
        expect(table.state).toBe(expected.state) // a copy, not a view
      }
    }
  })

  test('tells states apart: another page, another place, another number of pages', () => {
    const states = [[], [0], [0, 0], [1], [1, 0], [0, 1], [1, 2], [2, 1], [1, 1], [1, 2, 0], [0, 1, 2], [2, 2]]
    expect(new Set(states.map((pages) => tableOf(pages).state)).size).toBe(states.length)
  })

  test('adds pages of zeros, which a page of zeros does not change', () => {
    const table = new PageTable(PAGE, 3)
    expect(table.set(2, hashPage(page(0)))).toBe(false)
    expect(table.set(2, hashPage(page(1)))).toBe(true)
    table.resize(1)
    table.resize(3)
    expect(table.state).toBe(new PageTable(PAGE, 3).state)
  })

  test('its bytes are the hashes, in the order of pages', () => {
    const table = tableOf([5, 6, 7])
    const hashes = [5, 6, 7].map((fill) => Uint32Array.from(hashPage(page(fill))))
    expect(table.bytes.length).toBe(3 * HASH_BYTES)
    hashes.forEach((hash, index) => {
      const at = index * HASH_BYTES
      expect(wordsOf(Uint8Array.from(table.bytes.subarray(at, at + HASH_BYTES)))).toEqual(hash)
    })
  })
})
