import { createHash, type Hash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import type { StreamFacts } from '../contracts/backup.ts'

/** Bytes are hashed in pieces of this size: less than a millisecond each, even without instructions made for it. */
const PIECE_BYTES = 128 * 1024
/** After this much hashing without a pause the event loop gets its turn. */
const SLICE_MS = 1

/** Counts and hashes what passes; with `hashes: false` it only counts. */
export class Meter {
  readonly #hash: Hash | undefined
  #bytes = 0

  constructor({ hashes = true }: { readonly hashes?: boolean } = {}) {
    this.#hash = hashes ? createHash('sha256') : undefined
  }

  get bytes(): number {
    return this.#bytes
  }

  update(piece: Uint8Array): void {
    this.#bytes += piece.length
    this.#hash?.update(piece)
  }

  /** Length and hash (empty where it only counts) of all that passed. May be called again. */
  facts(): StreamFacts {
    return { bytes: this.#bytes, sha256: this.#hash?.copy().digest('hex') ?? '' }
  }

  /** Nothing is to be let go of here: a {@link ThreadMeter} has a thread. */
  end(): void {}

  /**
   * Hands on what `source` yields, in pieces of at most 128 KiB, each metered as it passes. When it asks `source` for
   * more, it is done with what it got.
   */
  async *through(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
    let sliceSinceMs = performance.now()
    for await (const whole of source) {
      for (let at = 0; at < whole.length; at += PIECE_BYTES) {
        const piece = whole.subarray(at, at + PIECE_BYTES)
        this.update(piece)
        yield Buffer.from(piece.buffer, piece.byteOffset, piece.length)
        if (performance.now() - sliceSinceMs < SLICE_MS) continue
        await setImmediate()
        sliceSinceMs = performance.now()
      }
    }
  }
}
