import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { segmentName } from '../physical/segments.ts'

// Looks through laid log for the creation of tablespaces. Layout (xlogrecord.h, xlog_internal.h), little endian:
// a page of 8 KiB begins with a header of 24 bytes, of 40 on the first page of a segment: magic u16, flags u16, timeline
// u32, address u64, length u32 of what a record that began before has left on this page. Records begin at multiples of
// 8: total length u32, transaction u32, previous u64, info u8, resource manager u8, 2 bytes, CRC u32, then blocks' and
// data's headers, then their content.

const PAGE = 8192
const SHORT_HEADER = 24
const LONG_HEADER = 40
const IS_CONTINUATION = 1
const IS_LONG = 2
const RECORD_HEADER = 24
const TABLESPACES = 5
const CREATE = 0x00
const SWITCH = 0x40
const DATA_SHORT = 255
const DATA_LONG = 254
/** A path has at most 1,024 bytes. */
const MOST_BYTES = 4096

/** A tablespace that the log makes, at the path that it had on the server. */
export interface CreatedTablespace {
  readonly oid: number
  readonly path: string
}

/** A part of the log on one timeline. */
export interface WalStretch {
  readonly timeline: number
  /** Where a record begins. */
  readonly begin: bigint
  /** Absent for the last one: to where the log ends. */
  readonly end?: bigint
}

/** The tablespaces that replaying the log in `folder` would make. Ends, like the server, where no record follows. */
export function createdTablespaces(
  folder: string,
  stretches: readonly WalStretch[],
  segmentBytes: number,
): CreatedTablespace[] {
  return stretches.flatMap((stretch) => new Scan(folder, stretch, segmentBytes).run())
}

class Scan {
  readonly #folder: string
  readonly #stretch: WalStretch
  readonly #size: bigint
  readonly #found: CreatedTablespace[] = []
  #name = ''
  #segment: Buffer | undefined
  /** Bytes of a record that go on on the next page. */
  #left = 0

  constructor(folder: string, stretch: WalStretch, segmentBytes: number) {
    this.#folder = folder
    this.#stretch = stretch
    this.#size = BigInt(segmentBytes)
  }

  run(): CreatedTablespace[] {
    const { begin, end } = this.#stretch
    let page = begin - (begin % BigInt(PAGE))
    let first = Number(begin - page)
    for (;;) {
      const bytes = this.#page(page)
      if (!bytes || (end !== undefined && page >= end)) return this.#found
      const next = this.#scanPage(page, bytes, first, end === undefined ? PAGE : Number(min(end - page, PAGE)))
      if (next === 'over') return this.#found
      first = 0
      page = next === 'segment' ? (page / this.#size + 1n) * this.#size : page + BigInt(PAGE)
    }
  }

  /** Goes over the records that begin on a page, from `first` on. */
  #scanPage(page: bigint, bytes: Buffer, first: number, end: number): 'page' | 'segment' | 'over' {
    let at = Math.max(first, headerOf(bytes))
    if (first < headerOf(bytes)) {
      // A record that was cut off by a crash does not go on.
      const goesOn = (bytes.readUInt16LE(2) & IS_CONTINUATION) !== 0
      const rest = goesOn ? this.#left || bytes.readUInt32LE(16) : 0
      this.#left = Math.max(0, rest - (PAGE - at))
      at = align(at + Math.min(rest, PAGE - at))
    }
    while (at < end) {
      const total = bytes.readUInt32LE(at)
      if (total < RECORD_HEADER) return 'over'
      const inside = at + RECORD_HEADER <= PAGE
      const record = inside ? bytes.subarray(at, at + RECORD_HEADER) : this.#read(page, at, RECORD_HEADER)
      if (!record) return 'over'
      const info = record[16] as number
      const manager = record[17] as number
      if (manager === TABLESPACES && (info & 0xf0) === CREATE && total <= MOST_BYTES) this.#note(page, at, total)
      // The switch to the next segment leaves the rest of this one unused.
      if (manager === 0 && info === SWITCH) return 'segment'
      this.#left = Math.max(0, at + total - PAGE)
      at = align(at + total)
    }
    return 'page'
  }

  #note(page: bigint, at: number, total: number): void {
    const record = this.#read(page, at, total)
    const created = record && parseCreate(record)
    if (created) this.#found.push(created)
  }

  /** Content from `at` of a page on, over page headers; `undefined` when the log ends before. */
  #read(page: bigint, at: number, length: number): Buffer | undefined {
    const pieces: Buffer[] = []
    let from = at
    let left = length
    for (let address = page; left > 0; address += BigInt(PAGE)) {
      const bytes = this.#page(address)
      if (!bytes) return undefined
      if (from === 0) from = headerOf(bytes)
      const piece = bytes.subarray(from, from + left)
      pieces.push(piece)
      left -= piece.length
      from = 0
    }
    return Buffer.concat(pieces)
  }

  /** The page that begins at `address`; `undefined` where there is no log. */
  #page(address: bigint): Buffer | undefined {
    const name = segmentName(this.#stretch.timeline, address, Number(this.#size))
    if (name !== this.#name) {
      this.#name = name
      this.#segment = readSegment(join(this.#folder, name), Number(this.#size))
    }
    const offset = Number(address % this.#size)
    const page = this.#segment?.subarray(offset, offset + PAGE)
    // What was never written is zeros, what was used before has another address.
    return page && page.readBigUInt64LE(8) === address ? page : undefined
  }
}

const headerOf = (page: Buffer): number => ((page.readUInt16LE(2) & IS_LONG) === 0 ? SHORT_HEADER : LONG_HEADER)
const align = (at: number): number => (at + 7) & ~7
const min = (a: bigint, b: number): bigint => (a < BigInt(b) ? a : BigInt(b))

function parseCreate(record: Buffer): CreatedTablespace | undefined {
  const kind = record[RECORD_HEADER]
  const start = kind === DATA_SHORT ? RECORD_HEADER + 2 : kind === DATA_LONG ? RECORD_HEADER + 5 : undefined
  if (start === undefined || record.length < start + 5) return undefined
  const zero = record.indexOf(0, start + 4)
  return { oid: record.readUInt32LE(start), path: record.toString('utf8', start + 4, zero < 0 ? undefined : zero) }
}

function readSegment(file: string, bytes: number): Buffer | undefined {
  let fd: number
  try {
    fd = openSync(file, 'r')
  } catch {
    return undefined
  }
  try {
    const segment = Buffer.allocUnsafeSlow(bytes)
    let filled = 0
    while (filled < bytes) {
      const read = readSync(fd, segment, filled, bytes - filled, filled)
      if (read === 0) return undefined
      filled += read
    }
    return segment
  } finally {
    closeSync(fd)
  }
}
