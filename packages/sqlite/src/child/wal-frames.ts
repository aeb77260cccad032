import { endianness } from 'node:os'
import { freeFrame } from '@taskflow-backup/core'
import type { LogMark } from '../changes/format.ts'
import { FRAME_HEADER_BYTES, isLittleEndian, readAt, WAL_HEADER_BYTES } from './wal.ts'

/** Frames are read in pieces of about this size. */
const READ_BYTES = 4 * 1024 * 1024
/** So much is kept from the verification until it is used; of more, each piece is read again. */
const KEPT_BYTES = 64 * 1024 * 1024

/** Whether so many frames are kept until they are used. */
export const isKept = (frames: number, pageSize: number): boolean =>
  frames * (FRAME_HEADER_BYTES + pageSize) <= KEPT_BYTES

/** Takes what was committed, commit by commit. */
export interface CommitVisitor {
  /** `pageCount`: pages of the database after the commit. */
  begin(pageCount: number): void
  /** Each page at most once for each commit. `image` is gone with the next call. */
  page(page: number, image: Buffer): void
  end(): void
}

/** Frames that were verified: they follow on the mark, and end with a commit. */
export interface VerifiedFrames {
  /** Behind the last of them. */
  readonly mark: LogMark
  readonly commits: number
  /** Gives them to `visitor`, once. Those that are not {@link isKept} are read again: only while the log cannot be begun anew. */
  visit(visitor: CommitVisitor): void
}

/**
 * Verifies the frames behind `from` up to `lastFrame`: every frame's salts and running checksum, which goes over the
 * whole log from its begin, so that nothing can be missing or from elsewhere.
 *
 * @returns one sentence that says why they do not follow on `from`
 */
export function verifyFrames(
  fd: number,
  header: Buffer,
  from: LogMark,
  lastFrame: number,
  pageSize: number,
): VerifiedFrames | string {
  const frameBytes = FRAME_HEADER_BYTES + pageSize
  const count = lastFrame - from.frame
  const perRead = Math.max(1, Math.floor(READ_BYTES / frameBytes))
  const read = (first: number): Buffer => {
    const frames = Math.min(perRead, count - first)
    return readAt(fd, frames * frameBytes, WAL_HEADER_BYTES + (from.frame + first) * frameBytes)
  }
  const keep = isKept(count, pageSize)
  const kept: Buffer[] = []
  const pages = new Uint32Array(count)
  const pageCounts = new Uint32Array(count)
  const sums = new RunningSum(header, from.checksum)
  let commits = 0
  for (let first = 0; first < count; first += perRead) {
    const bytes = read(first)
    const frames = Math.min(perRead, count - first)
    if (bytes.length < frames * frameBytes) return 'The write-ahead log is shorter than it was.'
    if (!sums.follow(bytes, frameBytes)) return 'The write-ahead log does not go on where it was.'
    for (let i = 0; i < frames; i++) {
      const pageCount = bytes.readUInt32BE(i * frameBytes + 4)
      pages[first + i] = bytes.readUInt32BE(i * frameBytes)
      pageCounts[first + i] = pageCount
      if (pageCount > 0) commits++
    }
    if (keep) kept.push(bytes)
  }
  if (pageCounts[count - 1] === 0) return 'The write-ahead log ends inside a transaction.'
  const mark = { salts: header.toString('hex', 16, 24), frame: lastFrame, checksum: sums.checksum }
  const chunkOf = keep ? (chunk: number) => kept[chunk] as Buffer : cachingLast((chunk) => read(chunk * perRead))
  const imageOf = (index: number): Buffer => {
    const at = (index % perRead) * frameBytes + FRAME_HEADER_BYTES
    return chunkOf(Math.floor(index / perRead)).subarray(at, at + pageSize)
  }
  return {
    mark,
    commits,
    visit: (visitor) => {
      visitFrames(pages, pageCounts, imageOf, visitor)
      for (const bytes of kept.splice(0)) freeFrame(bytes)
    },
  }
}

function visitFrames(
  pages: Uint32Array,
  pageCounts: Uint32Array,
  imageOf: (index: number) => Buffer,
  visitor: CommitVisitor,
): void {
  for (let start = 0; start < pages.length; ) {
    let end = start
    while (pageCounts[end] === 0) end++
    const pageCount = pageCounts[end++] as number
    const newest = new Map<number, number>()
    for (let i = start; i < end; i++) newest.set(pages[i] as number, i)
    visitor.begin(pageCount)
    // A transaction that shrank the database may have written pages that it cut off afterwards.
    for (let i = start; i < end; i++) {
      const page = pages[i] as number
      if (page <= pageCount && newest.get(page) === i) visitor.page(page, imageOf(i))
    }
    visitor.end()
    start = end
  }
}

function cachingLast(read: (chunk: number) => Buffer): (chunk: number) => Buffer {
  let last = -1
  let bytes: Buffer
  return (chunk) => {
    if (chunk !== last) bytes = read(chunk)
    last = chunk
    return bytes
  }
}

/** Where a log begins: before its first frame. */
export function beginOf(header: Buffer): LogMark {
  return { salts: header.toString('hex', 16, 24), frame: 0, checksum: header.toString('hex', 24, 32) }
}

/** Whether the frame at `mark` still is the one that it was taken from, in a log whose header has its salts. */
export function carries(fd: number, mark: LogMark, pageSize: number): boolean {
  if (mark.frame === 0) return false // no mark of a backup is before the first frame
  const at = WAL_HEADER_BYTES + (mark.frame - 1) * (FRAME_HEADER_BYTES + pageSize)
  return readAt(fd, 16, at + 8).toString('hex') === mark.salts + mark.checksum
}

/**
 * The running checksum of https://sqlite.org/fileformat2.html#checksum_algorithm over the words of frames. Words are in
 * the byte order that the log's header tells; everything else of a log is big-endian.
 */
class RunningSum {
  readonly #salts: [number, number]
  readonly #swap: boolean
  #a: number
  #b: number

  constructor(header: Buffer, checksum: string) {
    this.#salts = [header.readInt32BE(16), header.readInt32BE(20)]
    this.#swap = isLittleEndian(header) !== (endianness() === 'LE')
    const start = Buffer.from(checksum, 'hex')
    this.#a = start.readInt32BE(0)
    this.#b = start.readInt32BE(4)
  }

  get checksum(): string {
    const bytes = Buffer.alloc(8)
    bytes.writeInt32BE(this.#a, 0)
    bytes.writeInt32BE(this.#b, 4)
    return bytes.toString('hex')
  }

  /** Goes on with whole frames; false as soon as one is not what follows. */
  follow(frames: Buffer, frameBytes: number): boolean {
    const bytes = this.#swap ? Buffer.from(frames).swap32() : frames
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    const [salt1, salt2] = this.#salts
    let [a, b] = [this.#a, this.#b]
    for (let at = 0; at < frames.length; at += frameBytes) {
      if (frames.readInt32BE(at + 8) !== salt1 || frames.readInt32BE(at + 12) !== salt2) return false
      const first = at / 4
      a = (a + (words[first] as number) + b) | 0
      b = (b + (words[first + 1] as number) + a) | 0
      const end = (at + frameBytes) / 4
      for (let word = first + FRAME_HEADER_BYTES / 4; word < end; word += 2) {
        a = (a + (words[word] as number) + b) | 0
        b = (b + (words[word + 1] as number) + a) | 0
      }
      if (frames.readInt32BE(at + 16) !== a || frames.readInt32BE(at + 20) !== b) return false
    }
    this.#a = a
    this.#b = b
    return true
  }
}
