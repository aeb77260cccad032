import type { BackupError } from '@taskflow-backup/core'
import { ByteSteps } from './byte-steps.ts'
import { CompressedTail } from './compressed.ts'
import { flaw } from './flaw.ts'
import { BLOCK_HEADER, COMPRESSED_MAGIC, SECTOR, STREAM_HEADER, TAPE_MAGIC, xor16 } from './layout.ts'
import { parseRaid, parseTape } from './parse.ts'
import { SetReader } from './set-reader.ts'
import type { MtfFile, MtfMedia, MtfSet } from './types.ts'

/** The most of one stream's payload that is kept: texts in it lie at most two 16-bit numbers from its beginning. */
const KEPT_PAYLOAD = 131_072
/** Numbers of sets have 16 bits. */
const MOST_SETS = 65_535

/**
 * Where in a file the scanner is: before the file mark that ends the medium's own block, between two sets, in a set,
 * after the file mark that ends its contents, or after its last block.
 */
type Phase = 'medium' | 'between' | 'set' | 'closing' | 'closed'

/**
 * Reads a backup file of SQL Server (Microsoft Tape Format) as its bytes come, in bounded memory, and keeps what it
 * tells. Every header's checksum, the order of blocks and the end of the file are checked; of the data, the checksums
 * that the server put there, where their algorithm is known.
 *
 * `update` takes the bytes in pieces of any length; `end` says what they were.
 */
export class MtfScanner {
  readonly #what: string
  readonly #steps = new ByteSteps()
  #blockAt = 0

  #compressed: CompressedTail | undefined
  #media: MtfMedia | undefined
  #markBytes = SECTOR
  #lastMarkAt: number | undefined
  #phase: Phase = 'medium'
  #set: SetReader | undefined
  readonly #sets: MtfSet[] = []
  #bareSets = 0
  #padding = false

  /** `what` names the file in errors. */
  constructor(what: string) {
    this.#what = what
    this.#steps.take(COMPRESSED_MAGIC.length, () => this.#readStart())
  }

  /**
   * Takes the next bytes of the file. They are not kept: the caller may use the buffer again.
   *
   * @throws `MEMBER_DAMAGED` with what is wrong and where; `KIND_UNSUPPORTED` for a backup of single file groups
   */
  update(piece: Uint8Array): void {
    this.#steps.feed(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength))
  }

  /**
   * For a caller who can seek: passes over the next bytes of a file of `size` bytes as far as the scanner learns nothing
   * from them, and gives how many these are.
   */
  skip(size: number): number {
    if (this.#compressed) return this.#steps.skip(size - CompressedTail.bytes)
    return this.#steps.watched ? 0 : this.#steps.skip(size)
  }

  /**
   * Call when the file has ended.
   *
   * @throws `MEMBER_DAMAGED` when it ended too early
   */
  end(): MtfFile {
    const bytes = this.#steps.at
    if (this.#compressed) {
      this.#compressed.end(this.#what, bytes)
      return { compressed: true, sets: [], bareSets: 0, bytes }
    }
    if (bytes < BLOCK_HEADER) throw this.#flaw(bytes, bytes === 0 ? 'it is empty' : 'it ends in its first header')
    const betweenBlocks = this.#steps.empty && this.#blockAt === bytes
    const complete = this.#phase === 'between' && (betweenBlocks || this.#padding)
    if (!complete || this.#sets.length + this.#bareSets === 0) throw this.#flaw(bytes, 'it ends too early')
    return {
      compressed: false,
      ...(this.#media && { media: this.#media }),
      sets: this.#sets,
      bareSets: this.#bareSets,
      bytes,
    }
  }

  #flaw(at: number, message: string): BackupError {
    return flaw(this.#what, at, message)
  }

  #readStart(): void {
    const start = this.#steps.collected.toString('latin1')
    if (start === COMPRESSED_MAGIC) {
      const tail = new CompressedTail()
      this.#compressed = tail
      this.#steps.passRest((bytes) => tail.update(bytes))
    } else if (start.startsWith(TAPE_MAGIC)) {
      this.#steps.take(BLOCK_HEADER - COMPRESSED_MAGIC.length, () => this.#readBlock(), true)
    } else throw this.#flaw(0, 'it begins with neither "TAPE" nor "MSSQLBAK"')
  }

  #nextBlock(): void {
    if (this.#steps.at % SECTOR !== 0) throw this.#flaw(this.#steps.at, 'a block does not end with a sector')
    this.#blockAt = this.#steps.at
    this.#steps.take(BLOCK_HEADER, () => this.#readBlock())
  }

  #readBlock(): void {
    const header = this.#steps.collected
    const at = this.#blockAt
    if (this.#phase === 'between' && header.every((byte) => byte === 0)) this.#readPadding()
    else if (xor16(header, 0, BLOCK_HEADER / 2) !== 0) throw this.#flaw(at, "the checksum of a block's header is wrong")
    else this.#beginBlock(header.toString('latin1', 0, 4), header.readUInt16LE(8), header.readUInt32LE(36))
  }

  /** `first` is where the block's streams begin, `control` its number in the set. */
  #beginBlock(type: string, first: number, control: number): void {
    if (type === 'SFMB') this.#steps.take(28, () => this.#readFileMark(), true)
    else {
      if (first < BLOCK_HEADER) throw this.#flaw(this.#blockAt, 'the header of a block ends before its end')
      this.#enter(type, control)
      this.#steps.take(first - BLOCK_HEADER, () => this.#readDescriptor(type), true)
    }
  }

  /** Checks that a block may stand here. */
  #enter(type: string, control: number): void {
    const at = this.#blockAt
    const unexpected = (): BackupError => this.#flaw(at, `a block ${JSON.stringify(type)} stands where none may be`)
    if (at === 0) return
    if (type === 'SSET' && (this.#phase === 'between' || this.#phase === 'closed')) {
      this.#finishSet()
      this.#phase = 'set'
      this.#set = new SetReader(this.#what, this.#media?.single === true)
    } else if (type === 'ESET' && (this.#phase === 'closing' || this.#phase === 'closed')) {
      this.#phase = 'closed'
      return
    } else if (this.#phase !== 'set' || ['TAPE', 'SSET', 'ESET'].includes(type)) throw unexpected()
    this.#set?.block(type, control, at)
  }

  #readDescriptor(type: string): void {
    const block = this.#steps.collected
    const at = this.#blockAt
    if (type === 'TAPE') {
      const facts = parseTape(block)
      if (!facts) throw this.#flaw(at, 'what it tells about its medium makes no sense')
      const { markSectors, ...media } = facts
      this.#markBytes = markSectors * SECTOR
      this.#media = { ...media, single: false }
    } else if (type === 'SSET') this.#set?.start(block, at)
    this.#steps.take(STREAM_HEADER, () => this.#readStream())
  }

  #readStream(): void {
    const header = this.#steps.collected
    const at = this.#steps.at - STREAM_HEADER
    if (xor16(header, 0, STREAM_HEADER / 2) !== 0) throw this.#flaw(at, "the checksum of a stream's header is wrong")
    const id = header.toString('latin1', 0, 4)
    const length = Number(header.readBigUInt64LE(8))
    if (length > Number.MAX_SAFE_INTEGER - this.#steps.at)
      throw this.#flaw(at, `a stream says that it has ${length} bytes`)
    if (id === 'SPAD') this.#steps.pass(length, () => this.#nextBlock())
    else if (id === 'RAID' || id === 'MQCI' || id === 'CSUM') {
      const kept = Math.min(length, KEPT_PAYLOAD)
      this.#steps.take(kept, () => {
        this.#useStream(id, this.#steps.collected, at)
        this.#endStream(length - kept)
      })
    } else this.#endStream(length, this.#set?.stream(id, length))
  }

  #useStream(id: string, payload: Buffer, at: number): void {
    if (this.#set) this.#set.payload(id, payload, at)
    else if (id === 'RAID' && this.#media) this.#media = { ...this.#media, ...parseRaid(payload) }
  }

  /** Goes over what is left of a stream, and over what fills it up to the next one. */
  #endStream(left: number, passing?: (bytes: Buffer) => void): void {
    const toStream = (): void => this.#steps.take(STREAM_HEADER, () => this.#readStream())
    this.#steps.pass(left, () => this.#steps.pass(-this.#steps.at & 3, toStream), passing)
  }

  #readFileMark(): void {
    const mark = this.#steps.collected
    const at = this.#blockAt
    if (mark.readUInt16LE(8) !== this.#markBytes)
      throw this.#flaw(at, 'a file mark has not the length that it should have')
    // Places are told in bytes where sectors have 512; of larger ones no file was at hand to see.
    const before = mark.readUInt32LE(56) > 0 ? Number(mark.readBigUInt64LE(72)) : undefined
    if (this.#media?.single && this.#markBytes === SECTOR && before !== this.#lastMarkAt)
      throw this.#flaw(at, 'something is missing, or too much, before a file mark')
    this.#lastMarkAt = at
    this.#phase = this.#afterMark()
    this.#steps.pass(this.#markBytes - mark.length, () => this.#nextBlock())
  }

  #afterMark(): Phase {
    if (this.#phase === 'medium') return 'between'
    if (this.#phase === 'set') return 'closing'
    if (this.#phase !== 'closed') throw this.#flaw(this.#blockAt, 'a file mark stands where none may be')
    this.#finishSet()
    return 'between'
  }

  #finishSet(): void {
    if (!this.#set) return
    const set = this.#set.finish(this.#blockAt)
    this.#set = undefined
    if (set) this.#sets.push(set)
    else this.#bareSets++
    if (this.#sets.length + this.#bareSets > MOST_SETS) throw this.#flaw(this.#blockAt, 'it has too many sets')
  }

  /** Zeros after the last set belong to the device, as long as nothing else follows. */
  #readPadding(): void {
    this.#padding = true
    this.#steps.passRest((bytes) => {
      if (bytes.some((byte) => byte !== 0)) throw this.#flaw(this.#steps.at, 'something stands after its end')
    })
  }
}
