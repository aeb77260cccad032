import { setImmediate } from 'node:timers/promises'

/** What is wrong with a member, for a person. */
export class DumpDamage extends Error {
  override readonly name = 'DumpDamage'
}

/** Pieces are taken in at most this length: less than a few milliseconds of work, however small the blocks. */
const PIECE_BYTES = 128 * 1024
/** After this long without a pause the event loop gets its turn. */
const SLICE_MS = 1
/** How `pg_dump` writes numbers: a sign, then so many bytes, lowest first. */
const INT_BYTES = 4

/** Reads what `pg_dump` writes from pieces of any length, without holding more than one of them. */
export class DumpReader {
  readonly #pieces: AsyncIterator<Buffer>
  #buffer: Buffer = Buffer.alloc(0)
  #at = 0
  #passed = 0
  #sliceSinceMs = performance.now()

  constructor(source: AsyncIterable<Buffer>) {
    this.#pieces = slices(source)
  }

  /** Bytes from the begin. */
  get position(): number {
    return this.#passed + this.#at
  }

  /** Bytes that can be read without waiting. */
  get available(): number {
    return this.#buffer.length - this.#at
  }

  /** Waits until `count` bytes, a small number, can be read. */
  async need(count: number): Promise<void> {
    while (this.available < count) {
      if (!(await this.#more())) throw new DumpDamage(`It ends in the middle, after ${this.position} bytes.`)
    }
  }

  async isAtEnd(): Promise<boolean> {
    while (this.available === 0) if (!(await this.#more())) return true
    return false
  }

  async #more(): Promise<boolean> {
    if (performance.now() - this.#sliceSinceMs > SLICE_MS) {
      await setImmediate()
      this.#sliceSinceMs = performance.now()
    }
    const { done, value } = await this.#pieces.next()
    if (done) return false
    const rest = this.#buffer.subarray(this.#at)
    this.#passed += this.#at
    this.#at = 0
    this.#buffer = rest.length === 0 ? value : Buffer.concat([rest, value])
    return true
  }

  /** The next byte; `need` comes first. */
  byteNow(): number {
    return this.#buffer[this.#at++] as number
  }

  /** The next number; `need(5)` comes first. */
  intNow(): number {
    const sign = this.byteNow()
    const value = this.#buffer.readUInt32LE(this.#at)
    if (sign > 1 || (sign === 1 && value === 0))
      throw new DumpDamage(`There is no number at byte ${this.position - 1}.`)
    this.#at += INT_BYTES
    return sign === 1 ? -value : value
  }

  async byte(): Promise<number> {
    await this.need(1)
    return this.byteNow()
  }

  async int(): Promise<number> {
    if (this.available < INT_BYTES + 1) await this.need(INT_BYTES + 1)
    return this.intNow()
  }

  /** A text of at most `most` bytes; `null` is not the same as an empty one. */
  async text(most: number): Promise<string | null> {
    const length = await this.#textLength()
    if (length === undefined) return null
    if (length > most) throw new DumpDamage(`There is a text of ${length} bytes at byte ${this.position}.`)
    await this.need(length)
    const text = this.#buffer.toString('utf8', this.#at, this.#at + length)
    this.#at += length
    return text
  }

  /** Passes over a text of any length; false for `null`. */
  async skipText(): Promise<boolean> {
    const length = await this.#textLength()
    if (length === undefined) return false
    await this.take(length)
    return true
  }

  async #textLength(): Promise<number | undefined> {
    const length = await this.int()
    if (length < -1) throw new DumpDamage(`There is a text of ${length} bytes at byte ${this.position}.`)
    return length < 0 ? undefined : length
  }

  /** Passes over `count` bytes, which `look` sees in pieces. */
  async take(count: number, look?: (piece: Buffer) => void | Promise<void>): Promise<void> {
    for (let left = count; left > 0; ) {
      if (this.available === 0) await this.need(1)
      const piece = this.#buffer.subarray(this.#at, this.#at + left)
      if (look) await look(piece)
      this.#at += piece.length
      left -= piece.length
    }
  }
}

async function* slices(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    for (let at = 0; at < piece.length; at += PIECE_BYTES) yield piece.subarray(at, at + PIECE_BYTES)
  }
}
