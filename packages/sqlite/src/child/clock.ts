/** Times of what is captured, in milliseconds since 1970: a clock that is put back does not make them go back. */
export class CaptureClock {
  readonly #skewMs: number
  readonly #wall: () => number
  readonly #monotonic: () => number
  #last: number
  #lastMonotonic: number

  /** `skewMs`: how far the plan's clock is ahead of the system's. No time is before `notBefore`. */
  constructor(
    notBefore: number,
    skewMs: number,
    { wall = Date.now, monotonic = () => performance.now() }: { wall?: () => number; monotonic?: () => number } = {},
  ) {
    this.#skewMs = skewMs
    this.#wall = wall
    this.#monotonic = monotonic
    this.#last = notBefore
    this.#lastMonotonic = monotonic()
  }

  now(): number {
    const monotonic = this.#monotonic()
    this.#last = Math.max(
      Math.round(this.#wall() + this.#skewMs),
      this.#last + Math.floor(monotonic - this.#lastMonotonic),
    )
    this.#lastMonotonic = monotonic
    return this.#last
  }

  /** From now on no time is before `moment`. */
  atLeast(moment: number): void {
    this.#last = Math.max(this.#last, moment)
  }
}
