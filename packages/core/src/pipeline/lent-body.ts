import { Readable } from 'node:stream'

const READ_AHEAD_BYTES = 1024 * 1024

/**
 * A body over memory that is used again: each of `pieces` is gone when the next is asked for. Those that know it borrow
 * them as they are ({@link borrow}). Whoever reads it as any other stream gets copies, which may be kept.
 */
export class LentBody extends Readable {
  readonly #pieces: AsyncGenerator<Uint8Array, void, void>
  #isLent = false
  #interrupt: (reason: Error) => void = () => {}

  constructor(pieces: AsyncGenerator<Uint8Array, void, void>, readAheadBytes = READ_AHEAD_BYTES) {
    super({ highWaterMark: readAheadBytes })
    this.#pieces = pieces
  }

  /** False when somebody reads it as a stream already. */
  get canLend(): boolean {
    return this.readableFlowing === null && !this.readableDidRead && !this.#isLent
  }

  /** True when its memory is borrowed. Meaningful once the first of its pieces is asked for. */
  get isLent(): boolean {
    return this.#isLent
  }

  /** Destroying the body ends it even while the next piece is waited for. */
  async *lend(): AsyncGenerator<Uint8Array, void, void> {
    this.#isLent = true
    this.on('error', () => {}) // thrown from here
    try {
      for (let step = await this.#next(); !step.done; step = await this.#next()) yield step.value
      // Others may wait for its end.
      await new Promise<void>((resolve) => {
        this.once('close', resolve).push(null)
        this.resume()
      })
      if (this.errored) throw this.errored
    } finally {
      this.destroy()
    }
  }

  #next(): Promise<IteratorResult<Uint8Array, void>> {
    return new Promise((resolve, reject) => {
      if (this.destroyed) return reject(this.errored ?? cutShort())
      this.#interrupt = reject
      this.#pieces.next().then(resolve, reject)
    })
  }

  override _read(): void {
    if (this.#isLent) return
    this.#pieces.next().then(
      ({ value, done }) => void (this.destroyed || this.push(done ? null : Buffer.from(value))),
      (error: Error) => this.destroy(error),
    )
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#interrupt(error ?? cutShort())
    this.#pieces.return().catch(() => {}) // what it waits for may never come
    done(error)
  }
}

const cutShort = (): Error => new Error('The body was destroyed before its end.')

/** The pieces of a body, each of which may be gone when the next is asked for. */
export const borrow = (body: Readable): AsyncIterable<Uint8Array> =>
  body instanceof LentBody && body.canLend ? body.lend() : body
