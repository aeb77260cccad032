import { BackupError } from '@taskflow-backup/core'
import { formatLsn, type WalPosition } from '../position.ts'
import { CRC32C_START, finishCrc32c, updateCrc32c } from './crc32c.ts'

const PAGE = 8192
const SHORT_HEADER = 24
const LONG_HEADER = 40
const RECORD_HEADER = 24
const RECORD_CRC = 20
/** PostgreSQL's own limit for a record. */
const MOST_RECORD_BYTES = 1020 * 1024 * 1024

const FLAG_CONTINUED = 1
const FLAG_LONG = 2
const FLAG_OVERWRITTEN = 8

/** First and last of the magic numbers of PostgreSQL's pages of log: 15 has 0xd110; each version has its own. */
const MAGIC = 0xd1

/**
 * Reads write-ahead log while it passes, in pieces of any size: every page's header and every record's CRC. It may begin
 * and end anywhere. Holds two headers. Every flaw throws.
 */
export class WalScanner {
  readonly #what: string
  readonly #timeline: number
  #lsn: bigint
  /** Offset of `#lsn` in its page. */
  #offset: number
  /** Collects the header that is being read, of a page or of a record. */
  readonly #header = Buffer.alloc(LONG_HEADER)
  #filled = 0
  #inPageHeader = false
  #magic = 0
  readonly #record = Buffer.alloc(RECORD_HEADER)
  #recordFilled = 0
  /** Bytes of the record's data that have not come. */
  #recordLeft = 0
  #inRecord = false
  #crc = CRC32C_START
  /** Bytes to go over: padding, or the rest of a record that began before. */
  #skip = 0
  /** Behind a switch to the next segment there are zeros up to it. */
  #zeros = false
  #atStart = true
  #records = 0
  #pages = 0

  /** `what` names the log in errors. */
  constructor(what: string, begin: WalPosition) {
    this.#what = what
    this.#timeline = begin.timeline
    this.#lsn = begin.lsn
    this.#offset = Number(begin.lsn % BigInt(PAGE))
    this.#inPageHeader = this.#offset === 0
  }

  get records(): number {
    return this.#records
  }

  get pages(): number {
    return this.#pages
  }

  /** @throws `MEMBER_DAMAGED` */
  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const inPage = bytes.subarray(at, at + PAGE - this.#offset)
      const used = this.#step(inPage)
      at += used
      this.#lsn += BigInt(used)
      this.#offset += used
      if (this.#offset < PAGE) continue
      this.#offset = 0
      this.#inPageHeader = true
      this.#filled = 0
    }
  }

  /** Takes some of `bytes`, all of one page, and says how many. */
  #step(bytes: Uint8Array): number {
    if (this.#inPageHeader) return this.#pageHeader(bytes)
    if (this.#zeros) return this.#zeroBytes(bytes)
    if (this.#skip > 0) {
      const used = Math.min(this.#skip, bytes.length)
      this.#skip -= used
      return used
    }
    return this.#inRecord ? this.#recordData(bytes) : this.#recordHeader(bytes)
  }

  #pageHeader(bytes: Uint8Array): number {
    const wanted = this.#filled < SHORT_HEADER ? SHORT_HEADER : this.#headerBytes()
    const used = Math.min(wanted - this.#filled, bytes.length)
    this.#header.set(bytes.subarray(0, used), this.#filled)
    this.#filled += used
    if (this.#filled < SHORT_HEADER || this.#filled < this.#headerBytes()) return used
    this.#inPageHeader = false
    this.#parsePage()
    return used
  }

  #headerBytes(): number {
    return this.#header.readUInt16LE(2) & FLAG_LONG ? LONG_HEADER : SHORT_HEADER
  }

  #parsePage(): void {
    const header = this.#header
    const isEmpty = header.subarray(0, SHORT_HEADER).every((byte) => byte === 0)
    // A log may also begin in the middle of the zeros.
    if (isEmpty && (this.#zeros || this.#atStart)) {
      this.#zeros = true
      return
    }
    this.#atStart = false
    this.#pages++
    const pageLsn = this.#lsn + BigInt(this.#filled) - BigInt(this.#headerBytes())
    const magic = header.readUInt16LE(0)
    const flags = header.readUInt16LE(2)
    const timeline = header.readUInt32LE(4)
    const address = header.readBigUInt64LE(8)
    const rest = header.readUInt32LE(16)
    if (magic >> 8 !== MAGIC || (this.#magic !== 0 && magic !== this.#magic))
      throw this.#damaged(`a page has the magic number 0x${magic.toString(16)}`)
    this.#magic = magic
    // The page on which a timeline was left keeps the header that it had before.
    if (timeline === 0 || timeline > this.#timeline) throw this.#damaged(`a page is of timeline ${timeline}`)
    const expected = pageLsn - (pageLsn % BigInt(PAGE))
    if (address !== expected)
      throw this.#damaged(`a page says that it is at ${formatLsn(address)}, not at ${formatLsn(expected)}`)
    this.#continue(flags, rest)
  }

  /** What the begin of a page says of the record that goes over from the page before. */
  #continue(flags: number, rest: number): void {
    const inside = this.#inRecord || this.#recordFilled > 0
    this.#zeros = false
    if (flags & FLAG_OVERWRITTEN) {
      // The server crashed while it wrote that record, and wrote on in its place.
      this.#forgetRecord()
      return
    }
    if (!(flags & FLAG_CONTINUED)) {
      if (inside) throw this.#damaged('a record breaks off at the end of a page')
      return
    }
    if (inside) {
      const left = this.#recordFilled < RECORD_HEADER ? this.#bytesOfRecord() - this.#recordFilled : this.#recordLeft
      if (rest !== left) throw this.#damaged(`a page goes on with ${rest} bytes of a record instead of ${left}`)
    } else {
      // Its begin is in the log before. A record of several pages is announced on each of them.
      this.#skip = Math.min(PAGE - this.#headerBytes(), aligned(rest))
    }
  }

  #bytesOfRecord(): number {
    return this.#record.readUInt32LE(0)
  }

  #recordHeader(bytes: Uint8Array): number {
    this.#atStart = false
    if (this.#recordFilled === 0 && bytes.length >= 4 && isZero(bytes, 4)) {
      throw this.#damaged('there is no record where one should be')
    }
    const used = Math.min(RECORD_HEADER - this.#recordFilled, bytes.length)
    this.#record.set(bytes.subarray(0, used), this.#recordFilled)
    this.#recordFilled += used
    if (this.#recordFilled < RECORD_HEADER) return used
    const length = this.#bytesOfRecord()
    if (length < RECORD_HEADER || length > MOST_RECORD_BYTES) throw this.#damaged(`a record has ${length} bytes`)
    this.#inRecord = true
    this.#recordLeft = length - RECORD_HEADER
    this.#crc = CRC32C_START
    if (this.#recordLeft === 0) this.#endRecord(this.#offset + used)
    return used
  }

  #recordData(bytes: Uint8Array): number {
    const used = Math.min(this.#recordLeft, bytes.length)
    this.#crc = updateCrc32c(this.#crc, bytes.subarray(0, used))
    this.#recordLeft -= used
    if (this.#recordLeft === 0) this.#endRecord(this.#offset + used)
    return used
  }

  #endRecord(offset: number): void {
    const header = this.#record
    const crc = finishCrc32c(updateCrc32c(this.#crc, header.subarray(0, RECORD_CRC)))
    if (crc !== header.readUInt32LE(RECORD_CRC)) throw this.#damaged('the checksum of a record is wrong')
    this.#records++
    const isSwitch = header[17] === 0 && ((header[16] as number) & 0xf0) === 0x40
    this.#forgetRecord()
    this.#skip = aligned(offset) - offset
    if (isSwitch) {
      this.#zeros = true
      this.#skip = 0
    }
  }

  #forgetRecord(): void {
    this.#inRecord = false
    this.#recordFilled = 0
    this.#recordLeft = 0
  }

  #zeroBytes(bytes: Uint8Array): number {
    if (!isZero(bytes, bytes.length)) throw this.#damaged('there is something behind the end of a segment')
    return bytes.length
  }

  #damaged(why: string): BackupError {
    return new BackupError('MEMBER_DAMAGED', `${this.#what} is no whole log: ${why} (at ${formatLsn(this.#lsn)}).`)
  }
}

/** Records begin at multiples of eight. */
const aligned = (bytes: number): number => Math.ceil(bytes / 8) * 8

function isZero(bytes: Uint8Array, length: number): boolean {
  for (let at = 0; at < length; at++) if (bytes[at] !== 0) return false
  return true
}
