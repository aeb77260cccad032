import { type Compression, freeFrame, type ReadyFrame, type SentFacts } from '@taskflow-backup/core'
import { pagesOf } from '../changes/commits.ts'
import type { ChangesIndex, Step } from '../changes/format.ts'
import { HASH_BYTES, type PageHash } from '../changes/page-table.ts'
import { PendingImages } from './pending-images.ts'
import { indexPiece } from './stored-frames.ts'
import { writeCompressed } from './write-file.ts'

const WORDS = HASH_BYTES / 4
const FIRST_PAGES = 1024
/** Images are read from the store in pieces of this size. */
const READ_BYTES = 1024 * 1024

/** Changed pages, commit by commit and step by step, until they are written to a member `.changes`. */
export class ChangeStore {
  readonly #pageSize: number
  readonly #images: PendingImages
  #pages = new Uint32Array(FIRST_PAGES)
  #hashes = new Uint32Array(FIRST_PAGES * WORDS)
  #count = 0
  /** Pages in finished commits. */
  #committed = 0
  #commits: [pageCount: number, written: number][] = []
  readonly #steps: Step[] = []

  /** `memoryBytes`: images beyond so many bytes go to a temporary file. */
  constructor(pageSize: number, temporaryDirectory: string, memoryBytes?: number) {
    this.#pageSize = pageSize
    this.#images = new PendingImages(temporaryDirectory, memoryBytes)
  }

  get steps(): readonly Step[] {
    return this.#steps
  }

  /** Bytes that wait here. */
  get pendingBytes(): number {
    return this.#images.length + this.#count * (4 + HASH_BYTES)
  }

  /** Finished commits that are in no step yet. */
  get openCommits(): number {
    return this.#commits.length
  }

  /** Begins a commit; forgets what was added since the end of the last one. */
  begin(): void {
    this.#count = this.#committed
    this.#images.truncate(this.#committed * this.#pageSize)
  }

  /** Copies both. @throws `TARGET_INVALID` when there is no room for a temporary file */
  add(page: number, hash: PageHash, image: Uint8Array): void {
    this.#images.append(image)
    if (this.#count === this.#pages.length) this.#grow()
    this.#pages[this.#count] = page
    this.#hashes.set(hash, this.#count * WORDS)
    this.#count++
  }

  /** `pageCount`: pages of the database after the commit. */
  endCommit(pageCount: number): void {
    this.#commits.push([pageCount, this.#count - this.#committed])
    this.#committed = this.#count
  }

  /** Makes one step of the commits since the last one, also of none. */
  endStep(step: Omit<Step, 'commits'>): void {
    this.#steps.push({ ...step, commits: this.#commits })
    this.#commits = []
  }

  /** Puts other steps in the place of those that are here: of the same commits, differently divided or numbered. */
  relabel(steps: readonly Step[]): void {
    if (pagesIn(steps) !== pagesIn(this.#steps)) throw new RangeError('These are the steps of other commits.')
    this.#steps.splice(0, this.#steps.length, ...steps)
  }

  /** What the steps from `from` to before `to` changed. */
  index(from: number, to: number): ChangesIndex {
    const steps = this.#steps.slice(from, to)
    const first = pagesIn(this.#steps.slice(0, from))
    const end = first + pagesIn(steps)
    const hashes = new Uint8Array(this.#hashes.slice(first * WORDS, end * WORDS).buffer)
    return { pageSize: this.#pageSize, steps, pages: this.#pages.slice(first, end), hashes }
  }

  /**
   * Writes the steps from `from` to before `to` to a new file, and keeps them: see {@link clear}. More may be added
   * meanwhile, and what is behind be forgotten again, but nothing be cleared. Default: all of them.
   *
   * @throws `TARGET_INVALID`
   */
  async write(
    path: string,
    compression: Compression,
    { from = 0, to = this.#steps.length }: { readonly from?: number; readonly to?: number } = {},
  ): Promise<SentFacts & { readonly index: ChangesIndex }> {
    const index = this.index(from, to)
    const first = pagesIn(this.#steps.slice(0, from))
    const start = await indexPiece(index, compression)
    return { ...(await writeCompressed(path, this.#contentOf(start, index, first), compression)), index }
  }

  async *#contentOf(
    start: Buffer | ReadyFrame,
    index: ChangesIndex,
    first: number,
  ): AsyncGenerator<Buffer | ReadyFrame> {
    yield start
    const begin = first * this.#pageSize
    const bytes = index.pages.length * this.#pageSize
    for (let at = 0; at < bytes; at += READ_BYTES) {
      const piece = this.#images.read(begin + at, Math.min(READ_BYTES, bytes - at))
      yield piece
      freeFrame(piece)
    }
  }

  /** Forgets what is behind the first `steps` steps; those may be written meanwhile. */
  truncate(steps: number): void {
    this.#steps.splice(steps)
    this.#commits = []
    this.#count = pagesIn(this.#steps)
    this.#committed = this.#count
    this.#images.truncate(this.#count * this.#pageSize)
  }

  /** Forgets the first `steps` steps, or all, with their pages. */
  clear(steps = this.#steps.length): void {
    const pages = pagesIn(this.#steps.splice(0, steps))
    this.#images.drop(pages * this.#pageSize)
    const kept = Math.max(FIRST_PAGES, this.#count - pages)
    const [oldPages, oldHashes] = [this.#pages, this.#hashes]
    this.#pages = new Uint32Array(kept)
    this.#pages.set(oldPages.subarray(pages, this.#count))
    this.#hashes = new Uint32Array(kept * WORDS)
    this.#hashes.set(oldHashes.subarray(pages * WORDS, this.#count * WORDS))
    this.#count -= pages
    this.#committed -= pages
  }

  #grow(): void {
    const [pages, hashes] = [this.#pages, this.#hashes]
    this.#pages = new Uint32Array(2 * pages.length)
    this.#pages.set(pages)
    this.#hashes = new Uint32Array(2 * hashes.length)
    this.#hashes.set(hashes)
  }
}

/** Pages that these steps wrote. */
export const pagesIn = (steps: readonly Step[]): number => steps.reduce((sum, { commits }) => sum + pagesOf(commits), 0)
