import type { StreamFacts } from '../contracts/backup.ts'
import { HashThread } from './hash-thread.ts'
import { Meter } from './meter.ts'

/** Small enough that what is copied for the thread is still in the processor's cache for whoever takes it next. */
const PIECE_BYTES = 128 * 1024

/** A {@link Meter} that hashes in a thread of its own, where there may be threads. Call `end` in every case. */
export class ThreadMeter {
  readonly #here = new Meter()
  #thread: HashThread | undefined
  #bytes = 0

  get bytes(): number {
    return this.#thread ? this.#bytes : this.#here.bytes
  }

  /** Hands on what `source` yields, in pieces of at most 128 KiB. The thread starts now. */
  async *through(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
    this.#thread = HashThread.start()
    if (!this.#thread) return yield* this.#here.through(source)
    for await (const whole of source) {
      for (let at = 0; at < whole.length; at += PIECE_BYTES) {
        const piece = whole.subarray(at, at + PIECE_BYTES)
        this.#bytes += piece.length
        await this.#thread.update(piece)
        yield Buffer.from(piece.buffer, piece.byteOffset, piece.length)
      }
    }
  }

  /** Length and hash of all that passed. Call once. */
  async facts(): Promise<StreamFacts> {
    return this.#thread ? { bytes: this.#bytes, sha256: await this.#thread.digest() } : this.#here.facts()
  }

  async end(): Promise<void> {
    await this.#thread?.end()
  }
}
