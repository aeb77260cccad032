import { BackupError } from '@taskflow-backup/core'

/**
 * Reads a stream whose pieces may be gone when the next is asked for: exactly so many bytes at a time, copied.
 *
 * It knows how long the stream is, so that a length that was read from damaged bytes does not ask for all the memory.
 */
export class PieceReader {
  readonly #pieces: AsyncIterator<Uint8Array>
  #piece: Uint8Array = Buffer.alloc(0)
  #at = 0
  #left: number

  constructor(pieces: AsyncIterable<Uint8Array>, bytes: number) {
    this.#pieces = pieces[Symbol.asyncIterator]()
    this.#left = bytes
  }

  /** Bytes that are still to come. */
  get left(): number {
    return this.#left
  }

  /** The next `bytes` bytes. @throws `MEMBER_DAMAGED` when there are fewer, and what the stream throws */
  readonly read = async (bytes: number): Promise<Buffer> => {
    if (bytes > this.#left) throw tooShort()
    const result = Buffer.allocUnsafe(bytes)
    await this.#pass(bytes, (piece, at) => result.set(piece, at))
    return result
  }

  /** The same into memory of the caller's. */
  async readInto(target: Uint8Array): Promise<void> {
    await this.#pass(target.length, (piece, at) => target.set(piece, at))
  }

  async skip(bytes: number): Promise<void> {
    await this.#pass(bytes, () => {})
  }

  /** Reads on to the end, where the stream itself may fail. @throws `MEMBER_DAMAGED` when it is longer than it was said */
  async end(): Promise<void> {
    await this.skip(this.#left)
    let more = this.#piece.length - this.#at
    for (let step = await this.#pieces.next(); !step.done; step = await this.#pieces.next()) more += step.value.length
    if (more > 0) throw new BackupError('MEMBER_DAMAGED', 'It is longer than it tells.')
  }

  /** Reads no further. */
  async close(): Promise<void> {
    await this.#pieces.return?.()
  }

  async #pass(bytes: number, take: (piece: Uint8Array, at: number) => void): Promise<void> {
    if (bytes > this.#left) throw tooShort()
    for (let passed = 0; passed < bytes; ) {
      if (this.#at === this.#piece.length) {
        const { value, done } = await this.#pieces.next()
        if (done) throw tooShort()
        this.#piece = value
        this.#at = 0
        continue
      }
      const part = this.#piece.subarray(this.#at, this.#at + bytes - passed)
      take(part, passed)
      passed += part.length
      this.#at += part.length
    }
    this.#left -= bytes
  }
}

export const tooShort = (): BackupError => new BackupError('MEMBER_DAMAGED', 'It is shorter than it tells.')
