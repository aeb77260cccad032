import { setImmediate } from 'node:timers/promises'

/** Transactions between two looks at everything else that a process has to do. */
export const BURST = 20

/** How a writer rests after each burst, so that others have their turn; at least for as long as it takes to hear them. */
export class Pace {
  readonly #restMs: number
  readonly #random: () => number
  #hurried = 0
  #wake = (): void => {}

  /** It rests up to `restMs` milliseconds. */
  constructor(restMs: number, random: () => number) {
    this.#restMs = restMs
    this.#random = random
  }

  /** Full speed from now on, for so many bursts. */
  hurry(bursts: number): void {
    this.#hurried = bursts
    this.#wake()
  }

  async rest(): Promise<unknown> {
    const restMs = this.#restMs * this.#random()
    if (this.#hurried > 0) {
      this.#hurried--
      return setImmediate()
    }
    if (restMs < 1) return setImmediate()
    return new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, restMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
