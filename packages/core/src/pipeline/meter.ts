import { createHash, type Hash } from 'node:crypto'
import type { StreamFacts } from '../contracts/backup.ts'

/** Pieces are hashed in steps of this size, so that the event loop never waits long: about 0.5 ms each. */
const HASH_BYTES = 1024 * 1024

/** Counts and hashes what passes. */
export class Meter {
  #hash: Hash = createHash('sha256')
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  update(piece: Uint8Array): void {
    this.#bytes += piece.length
    this.#hash.update(piece)
  }

  /** Length and hash of all that passed. May be called again. */
  facts(): StreamFacts {
    return { bytes: this.#bytes, sha256: this.#hash.copy().digest('hex') }
  }

  /** Hands on what `source` yields, in pieces of at most 1 MiB, each metered as it passes. */
  async *through(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
    for await (const whole of source) {
      for (let at = 0; at < whole.length; at += HASH_BYTES) {
        const piece = whole.subarray(at, at + HASH_BYTES)
        this.update(piece)
        yield Buffer.from(piece.buffer, piece.byteOffset, piece.length)
      }
    }
  }
}
