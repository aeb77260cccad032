import { flaw } from './flaw.ts'
import { BLOCK_HEADER, SECTOR, xor16 } from './layout.ts'

const TAIL = 65_536
/** Where a file mark tells the place of the one before it, and how many it tells. */
const MARKS = { count: 56, newest: 72 }

/** Follows a backup that the server compressed: all that shows without unpacking it is how it ends. */
export class CompressedTail {
  /** How much of the end of a file is kept. */
  static readonly bytes = TAIL
  readonly #tail = Buffer.alloc(TAIL)
  #held = 0

  update(bytes: Buffer): void {
    const taken = bytes.subarray(-TAIL)
    const kept = Math.min(this.#held, TAIL - taken.length)
    this.#tail.copyWithin(0, this.#held - kept, this.#held)
    taken.copy(this.#tail, kept)
    this.#held = kept + taken.length
  }

  /** @throws `MEMBER_DAMAGED` unless a file of `length` bytes ends in a file mark, and the mark before is in its place */
  end(what: string, length: number): void {
    const tail = this.#tail.subarray(0, this.#held)
    const at = [SECTOR, 8 * SECTOR].map((size) => tail.length - size).find((start) => isFileMark(tail, start))
    if (length % SECTOR !== 0 || at === undefined) throw flaw(what, length, 'it ends without its final file mark')
    const start = length - tail.length
    const marks = tail.readUInt32LE(at + MARKS.count)
    const newest = Number(tail.readBigUInt64LE(at + MARKS.newest)) - start
    // Of larger sectors no file was at hand to see in what units places are told.
    if (tail.length - at !== SECTOR || marks === 0 || newest < 0) return
    if (newest >= at || !isFileMark(tail, newest))
      throw flaw(what, start + at, 'something is missing before its final file mark')
  }
}

function isFileMark(bytes: Buffer, at: number): boolean {
  if (at < 0 || at + BLOCK_HEADER > bytes.length || bytes.toString('latin1', at, at + 4) !== 'SFMB') return false
  return xor16(bytes, at, BLOCK_HEADER / 2) === 0
}
