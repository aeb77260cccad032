import { xxh64 } from '@node-rs/xxhash'

/** Bytes of one page's hash. */
export const HASH_BYTES = 16
const WORDS = HASH_BYTES / 4
/** Room for pages that a growing database will have soon. */
const SPARE_PAGES = 1024

/**
 * What is known of a whole state: four words of 32 bits. Each word of each page's hash, times twice the page's number
 * plus one, is added up. So it can be kept right change by change, and pages that changed places do not have the same
 * sum. See `docs/format.md`.
 */
export class StateSum {
  readonly #words = new Uint32Array(WORDS)

  /** Adds the hash at `at` in `words` as that of page `page`, counted from 1, or takes it away again. */
  add(page: number, words: Uint32Array, at = 0, sign: 1 | -1 = 1): void {
    const factor = Math.imul(2 * page + 1, sign)
    const sum = this.#words
    for (let i = 0; i < WORDS; i++) {
      sum[i] = ((sum[i] as number) + Math.imul(words[at + i] as number, factor)) >>> 0
    }
  }

  /** 32 hex digits. The same state has always the same one. */
  get state(): string {
    return Buffer.from(this.#words.buffer.slice(0)).toString('hex')
  }
}

/**
 * One hash for each page of a database, by which it is known which pages differ, and a sum over all of them, by which a
 * whole state is known. 16 bytes a page: 4 MiB for a database of 1 GiB.
 *
 * The hash of a page is its XXH64 with the seed 0 and with the seed 1, as little-endian numbers.
 */
export class PageTable {
  readonly pageSize: number
  readonly #zeros: Uint32Array
  #pageCount = 0
  #words: Uint32Array
  readonly #sum = new StateSum()

  /** A table of `pageCount` pages of zeros. */
  constructor(pageSize: number, pageCount = 0) {
    this.pageSize = pageSize
    this.#zeros = Uint32Array.from(toWords(hashPage(Buffer.alloc(pageSize))))
    this.#words = new Uint32Array(0)
    this.resize(pageCount)
  }

  /** A table from its {@link bytes}. */
  static from(pageSize: number, bytes: Uint8Array): PageTable {
    const table = new PageTable(pageSize)
    table.#pageCount = bytes.length / HASH_BYTES
    table.#words = new Uint32Array(table.#pageCount * WORDS)
    new Uint8Array(table.#words.buffer).set(bytes)
    for (let page = 1; page <= table.#pageCount; page++) table.#add(page, 1)
    return table
  }

  get pageCount(): number {
    return this.#pageCount
  }

  /** See {@link StateSum}. */
  get state(): string {
    return this.#sum.state
  }

  /** Every page's hash, from page 1 on. A view: it changes with the table. */
  get bytes(): Buffer {
    return Buffer.from(this.#words.buffer, 0, this.#pageCount * HASH_BYTES)
  }

  /** Cuts pages off, or adds pages of zeros. */
  resize(pageCount: number): void {
    for (let page = pageCount + 1; page <= this.#pageCount; page++) this.#add(page, -1)
    if (pageCount * WORDS > this.#words.length) {
      const grown = new Uint32Array((pageCount + Math.max(SPARE_PAGES, pageCount >>> 3)) * WORDS)
      grown.set(this.#words.subarray(0, this.#pageCount * WORDS))
      this.#words = grown
    }
    const before = this.#pageCount
    this.#pageCount = pageCount
    for (let page = before + 1; page <= pageCount; page++) {
      this.#words.set(this.#zeros, (page - 1) * WORDS)
      this.#add(page, 1)
    }
  }

  /**
   * Notes the hash of page `page` (counted from 1, at most `pageCount`), which is the one at `from` in `hashes`, and tells
   * whether it is another one than before.
   */
  set(page: number, hashes: Uint32Array, from = 0): boolean {
    const at = (page - 1) * WORDS
    const words = this.#words
    let same = true
    for (let i = 0; i < WORDS; i++) if (words[at + i] !== hashes[from + i]) same = false
    if (same) return false
    this.#add(page, -1)
    for (let i = 0; i < WORDS; i++) words[at + i] = hashes[from + i] as number
    this.#add(page, 1)
    return true
  }

  #add(page: number, sign: 1 | -1): void {
    this.#sum.add(page, this.#words, (page - 1) * WORDS, sign)
  }
}

/** The four little-endian words of a page's hash. Gone with the next call of {@link hashPage}: copy what is kept. */
export type PageHash = Uint32Array

const halves = new BigUint64Array(2)
const result: PageHash = new Uint32Array(halves.buffer)

/** The words of many hashes, one behind the other. */
export const wordsOf = (hashes: Uint8Array): Uint32Array =>
  new Uint32Array(hashes.buffer, hashes.byteOffset, hashes.length / Uint32Array.BYTES_PER_ELEMENT)

/** The hash of one page. */
export function hashPage(page: Uint8Array): PageHash {
  halves[0] = xxh64(page as Buffer, 0n)
  halves[1] = xxh64(page as Buffer, 1n)
  return result
}

const toWords = (hash: PageHash): number[] => [...hash]
