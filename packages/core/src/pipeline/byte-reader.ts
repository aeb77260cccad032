/** Reads a stream of pieces as if it were one buffer of which only the next bytes are in memory. */
export class ByteReader {
  #source: AsyncIterator<Uint8Array>
  #pending: Buffer = Buffer.alloc(0)
  #ended = false
  #position = 0

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** The next `length` bytes without consuming them; fewer only at the end of the stream. */
  async peek(length: number): Promise<Buffer> {
    // Joined once, however small the pieces are.
    const pieces: Uint8Array[] = this.#pending.length === 0 ? [] : [this.#pending]
    let bytes = this.#pending.length
    while (bytes < length && !this.#ended) {
      const { value, done } = await this.#source.next()
      if (done) {
        this.#ended = true
      } else {
        pieces.push(value)
        bytes += value.length
      }
    }
    const [first] = pieces
    if (pieces.length > 1) this.#pending = Buffer.concat(pieces)
    else if (first) this.#pending = Buffer.from(first.buffer, first.byteOffset, first.length)
    return this.#pending.subarray(0, length)
  }

  /** Bytes that were consumed so far. */
  get position(): number {
    return this.#position
  }

  /** Consumes `length` bytes, which were peeked before. */
  skip(length: number): void {
    this.#position += length
    this.#pending = this.#pending.subarray(length)
  }

  /** Tells the source that no more is wanted. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }
}
