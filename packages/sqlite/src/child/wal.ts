import { readSync } from 'node:fs'

// The write-ahead log: https://sqlite.org/fileformat2.html#the_write_ahead_log

export const WAL_HEADER_BYTES = 32
export const FRAME_HEADER_BYTES = 24
const MAGIC = 0x377f0682
const VERSION = 3_007_000
/** Frames are read in pieces of about this size. */
const READ_BYTES = 4 * 1024 * 1024

/** Where in the log the newest committed version of each page is; sized by the log, not by the database. */
export interface WalIndex {
  /** Pages of the database after the last commit. */
  readonly pageCount: number
  /** Page numbers in ascending order. */
  readonly pages: Uint32Array
  /** For each of `pages`, its frame, counted from 1. */
  readonly frames: Uint32Array
}

/** True for a header that belongs to a log of version 3007000 with a right checksum. */
export function isWalHeader(header: Buffer): boolean {
  if (header.length < WAL_HEADER_BYTES) return false
  const magic = header.readUInt32BE(0)
  if ((magic & 0xfffffffe) >>> 0 !== MAGIC || header.readUInt32BE(4) !== VERSION) return false
  const littleEndian = isLittleEndian(header)
  let [a, b] = [0, 0]
  for (let at = 0; at < 24; at += 8) {
    const [x, y] = littleEndian
      ? [header.readUInt32LE(at), header.readUInt32LE(at + 4)]
      : [header.readUInt32BE(at), header.readUInt32BE(at + 4)]
    a = (a + x + b) >>> 0
    b = (b + y + a) >>> 0
  }
  return a === header.readUInt32BE(24) && b === header.readUInt32BE(28)
}

/** The byte order of the words that the log's checksums go over: that of the machine that began it. */
export const isLittleEndian = (header: Buffer): boolean => header.readUInt32BE(0) === MAGIC

/** Reads `length` bytes at `position`; fewer only at the end of the file. */
export function readAt(fd: number, length: number, position: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length)
  let filled = 0
  while (filled < length) {
    const read = readSync(fd, bytes, filled, length - filled, position + filled)
    if (read === 0) break
    filled += read
  }
  return bytes.subarray(0, filled)
}

/**
 * Maps pages to frames for the frames 1 to `lastFrame`, all committed. `undefined` when the log is not (or no longer)
 * the one that `header` begins: look again.
 */
export function indexWal(fd: number, header: Buffer, lastFrame: number, pageSize: number): WalIndex | undefined {
  const frameBytes = FRAME_HEADER_BYTES + pageSize
  const perRead = Math.max(1, Math.floor(READ_BYTES / frameBytes))
  const salts = header.subarray(16, 24)
  // Page in the upper half, frame in the lower: sorted, the last of each page is its newest version.
  const entries = new BigUint64Array(lastFrame)
  let pageCount = 0
  for (let frame = 1; frame <= lastFrame; frame += perRead) {
    const count = Math.min(perRead, lastFrame - frame + 1)
    const bytes = readAt(fd, count * frameBytes, WAL_HEADER_BYTES + (frame - 1) * frameBytes)
    if (bytes.length < count * frameBytes) return undefined
    for (let i = 0; i < count; i++) {
      const at = i * frameBytes
      if (!bytes.subarray(at + 8, at + 16).equals(salts)) return undefined
      entries[frame - 1 + i] = (BigInt(bytes.readUInt32BE(at)) << 32n) | BigInt(frame + i)
      const commit = bytes.readUInt32BE(at + 4)
      if (commit > 0) pageCount = commit
      else if (frame + i === lastFrame) return undefined
    }
  }
  entries.sort()
  return newestOf(entries, pageCount)
}

function newestOf(entries: BigUint64Array, pageCount: number): WalIndex {
  const pages = new Uint32Array(entries.length)
  const frames = new Uint32Array(entries.length)
  let count = 0
  for (let i = 0; i < entries.length; i++) {
    const page = Number((entries[i] as bigint) >> 32n)
    if (i + 1 < entries.length && Number((entries[i + 1] as bigint) >> 32n) === page) continue
    if (page > pageCount) continue // cut off by a later commit
    pages[count] = page
    frames[count] = Number((entries[i] as bigint) & 0xffffffffn)
    count++
  }
  return { pageCount, pages: pages.slice(0, count), frames: frames.slice(0, count) }
}

/** The frames that hold one of `count` pages from `first`, in the order of pages. */
export function framesFor(
  { pages, frames }: WalIndex,
  first: number,
  count: number,
): { page: number; frame: number }[] {
  let low = 0
  for (let high = pages.length; low < high; ) {
    const middle = (low + high) >>> 1
    if ((pages[middle] as number) < first) low = middle + 1
    else high = middle
  }
  const found: { page: number; frame: number }[] = []
  for (let i = low; i < pages.length && (pages[i] as number) < first + count; i++) {
    found.push({ page: pages[i] as number, frame: frames[i] as number })
  }
  return found
}
