import type { Readable } from 'node:stream'
import { BackupError, freeFrame, type ReadyFrame } from '@taskflow-backup/core'
import { isHash } from '../changes/commits.ts'
import { type ChangesIndex, readIndex, type Step } from '../changes/format.ts'
import { gapsOf, isEmpty, resolutionOf } from '../changes/log-facts.ts'
import { mergeSteps, ZERO_IMAGE } from '../changes/merge-steps.ts'
import { HASH_BYTES, hashPage, wordsOf } from '../changes/page-table.ts'
import { PieceReader } from '../changes/piece-reader.ts'
import type { Jobs, MergeFacts } from '../jobs.ts'
import { about } from './about-member.ts'
import { IncomingMembers } from './incoming-members.ts'
import { Spool } from './spool.ts'
import { indexPiece, StoredFrames } from './stored-frames.ts'
import { cannotWrite, writeCompressed } from './write-file.ts'

const COPY_BYTES = 1024 * 1024

/**
 * Makes one list of changes of several that follow on one another and come in on the channel, and writes it to a file.
 * Memory is needed for the indexes only: the pages wait in a temporary file. `leastFrameBytes`: for tests.
 */
export async function mergeChanges(
  settings: Jobs['merge']['input'],
  channel: Readable,
  leastFrameBytes?: number,
): Promise<MergeFacts> {
  const { logs, resolutionMs, after, file, temporaryDirectory, compression } = settings
  const incoming = new IncomingMembers(channel)
  const collected = new Collected(temporaryDirectory)
  const frames = new StoredFrames(temporaryDirectory, compression, leastFrameBytes)
  try {
    for (const member of logs) {
      await about(member, async () => {
        const pieces = incoming.nextChanges(member, frames.takerFor(member))
        await frames.endMember(await collected.add(new PieceReader(pieces, member.plain.bytes)))
      })
    }
  } catch (error) {
    throw cannotWrite(temporaryDirectory, error)
  } finally {
    incoming.close()
  }
  const { index, images } = collected.merge(resolutionMs)
  const start = await indexPiece(index, compression, leastFrameBytes)
  const sent = await writeCompressed(file, contentOf(start, images, index.pageSize, collected, frames), compression)
  const [first, last] = [index.steps[0] as Step, index.steps.at(-1) as Step]
  return {
    ...sent,
    firstCommit: first.firstCommit,
    lastCommit: last.lastCommit,
    before: first.before,
    state: last.after,
    steps: index.steps.length,
    pages: index.pages.length,
    resolutionMs: resolutionOf(index.steps, after),
    gaps: gapsOf(index.steps, after),
  }
}

async function* contentOf(
  start: Buffer | ReadyFrame,
  images: Uint32Array,
  pageSize: number,
  { read }: Collected,
  frames: StoredFrames,
): AsyncGenerator<Buffer | ReadyFrame> {
  yield start
  const atOnce = Math.max(1, COPY_BYTES / pageSize)
  for (let from = 0; from < images.length; ) {
    const image = images[from] as number
    const ready = frames.at(image)
    const isWhole = ready !== undefined && inARow(images, from, ready.pages) === ready.pages
    const count = isWhole ? ready.pages : inARow(images, from, atOnce, (next) => frames.at(next) !== undefined)
    const plain = image === ZERO_IMAGE ? Buffer.alloc(pageSize) : read(image, count)
    yield isWhole ? { plain, frame: frames.read(ready) } : plain
    freeFrame(plain)
    from += count
  }
}

/** How many images from `from` on lie one behind the other: at most `most`, and up to one with which something else begins. */
function inARow(images: Uint32Array, from: number, most: number, begins = (_image: number): boolean => false): number {
  const first = images[from] as number
  let count = 1
  while (count < most && images[from + count] === first + count && !begins(first + count)) count++
  return count
}

/** What came in so far: steps and what they wrote, without what another log had already. */
class Collected {
  readonly #spool: Spool
  readonly #steps: Step[] = []
  readonly #pages: Uint32Array[] = []
  readonly #hashes: Uint8Array[] = []
  #pageSize = 0
  #images = 0

  constructor(temporaryDirectory: string) {
    this.#spool = new Spool(temporaryDirectory)
  }

  /** What is there of its pages then, when that is all of them. */
  async add(reader: PieceReader): Promise<{ image: number; count: number; pageSize: number } | undefined> {
    const index = await readIndex(reader.read)
    const { pageSize, steps, pages, hashes } = index
    this.#pageSize ||= pageSize
    if (pageSize !== this.#pageSize) throw damaged(`has pages of ${pageSize} bytes instead of ${this.#pageSize}`)
    if (reader.left !== pages.length * pageSize) throw damaged('does not end after its last page')
    const image = this.#images
    let first = 0
    for (const step of steps) {
      const written = step.commits.reduce((sum, [, count]) => sum + count, 0)
      if (this.#goesOn(step)) {
        this.#steps.push(step)
        this.#pages.push(pages.subarray(first, first + written))
        this.#hashes.push(hashes.subarray(first * HASH_BYTES, (first + written) * HASH_BYTES))
        await this.#take(reader, index, first, written)
      } else await reader.skip(written * pageSize)
      first += written
    }
    await reader.end()
    const count = pages.length
    return this.#images === image + count ? { image, count, pageSize } : undefined
  }

  /** Copies images, and holds each against its hash: from now on only those of the merged log are there. */
  async #take(reader: PieceReader, { pageSize, pages, hashes }: ChangesIndex, first: number, count: number) {
    const words = wordsOf(hashes)
    const atOnce = Math.max(1, COPY_BYTES / pageSize)
    for (let from = first, end = first + count; from < end; from += atOnce) {
      const images = await reader.read(Math.min(atOnce, end - from) * pageSize)
      for (let at = 0; at < images.length; at += pageSize) {
        const page = from + at / pageSize
        if (!isHash(images.subarray(at, at + pageSize), words, page))
          throw damaged(`has another page ${pages[page]} than its index tells`)
      }
      this.#spool.append(images)
      freeFrame(images)
    }
    this.#images += count
  }

  /** False for a step that was there already. @throws `MEMBER_DAMAGED` when there is something missing before it */
  #goesOn(step: Step): boolean {
    const last = this.#steps.at(-1)
    if (!last) return true
    if (step.lastCommit <= last.lastCommit && !(isEmpty(step) && step.capturedAt > last.capturedAt)) return false
    if (step.before !== last.after) throw damaged('does not go on where the log before it ends')
    return true
  }

  merge(resolutionMs: number | undefined): { index: ChangesIndex; images: Uint32Array } {
    const count = this.#pages.reduce((sum, { length }) => sum + length, 0)
    const pages = new Uint32Array(count)
    let at = 0
    for (const part of this.#pages) {
      pages.set(part, at)
      at += part.length
    }
    const hashes = Buffer.concat(this.#hashes)
    const merged = mergeSteps(this.#steps, pages, resolutionMs)
    const kept = Buffer.allocUnsafeSlow(merged.images.length * HASH_BYTES)
    const zeros = Uint32Array.from(hashPage(Buffer.alloc(this.#pageSize)))
    merged.images.forEach((image, i) => {
      if (image === ZERO_IMAGE) kept.set(new Uint8Array(zeros.buffer), i * HASH_BYTES)
      else hashes.copy(kept, i * HASH_BYTES, image * HASH_BYTES, (image + 1) * HASH_BYTES)
    })
    const { steps, pages: keptPages, images } = merged
    return { index: { pageSize: this.#pageSize, steps, pages: keptPages, hashes: kept }, images }
  }

  /** Images of pages that followed on one another when they came in. */
  readonly read = (image: number, count: number): Buffer =>
    this.#spool.read(image * this.#pageSize, count * this.#pageSize)
}

const damaged = (why: string): BackupError => new BackupError('MEMBER_DAMAGED', `It ${why}.`)
