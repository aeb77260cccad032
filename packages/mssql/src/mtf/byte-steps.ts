/**
 * Cuts a stream of bytes, that comes in pieces of any size, into what a parser asks for: it collects some and calls the
 * next step, or passes over many. Holds no more than what was asked to be collected.
 */
export class ByteSteps {
  /** Offset of the next byte. */
  at = 0
  #held: Buffer = Buffer.alloc(1024)
  #heldBytes = 0
  #need = 0
  #toPass = 0
  #next: () => void = () => {}
  #passing: ((bytes: Buffer) => void) | undefined

  /** Next step when `bytes` more are here; `keep` leaves those that were collected before. */
  take(bytes: number, next: () => void, keep = false): void {
    if (!keep) this.#heldBytes = 0
    this.#need = this.#heldBytes + bytes
    if (this.#need > this.#held.length) {
      const larger = Buffer.alloc(this.#need)
      this.#held.copy(larger, 0, 0, this.#heldBytes)
      this.#held = larger
    }
    this.#next = next
  }

  /** Next step after `bytes` more, which `passing` is shown. */
  pass(bytes: number, next: () => void, passing?: (bytes: Buffer) => void): void {
    this.take(0, next)
    this.#toPass = bytes
    this.#passing = passing
  }

  /** Passes over all that is still to come. */
  passRest(passing: (bytes: Buffer) => void): void {
    this.pass(Number.MAX_SAFE_INTEGER, () => {}, passing)
  }

  /** What the step that runs now asked for. Valid until the next byte comes. */
  get collected(): Buffer {
    return this.#held.subarray(0, this.#heldBytes)
  }

  /** True when everything that came was used. */
  get empty(): boolean {
    return this.#toPass === 0 && this.#heldBytes === 0
  }

  /** True when something looks at what is passed over now. */
  get watched(): boolean {
    return this.#passing !== undefined
  }

  /** Goes on up to `limit` without the bytes before it, as far as they are passed over; gives how many these are. */
  skip(limit: number): number {
    const skipped = Math.max(0, Math.min(this.#toPass, limit - this.at))
    this.#toPass -= skipped
    this.at += skipped
    return skipped
  }

  feed(bytes: Buffer): void {
    let from = 0
    for (;;) {
      const left = bytes.length - from
      let taken = 0
      if (this.#toPass > 0) {
        if (left === 0) return
        taken = Math.min(this.#toPass, left)
        this.#passing?.(bytes.subarray(from, from + taken))
        this.#toPass -= taken
      } else if (this.#heldBytes < this.#need) {
        if (left === 0) return
        taken = bytes.copy(this.#held, this.#heldBytes, from, from + this.#need - this.#heldBytes)
        this.#heldBytes += taken
      } else {
        this.#passing = undefined
        this.#next()
      }
      from += taken
      this.at += taken
    }
  }
}
