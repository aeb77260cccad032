import type { LogPins } from './log-pins.ts'

/** A seal that others prevented is tried again when the log has grown by so much, or after so long. */
const GROWTH = 1.25
const AGAIN_MS = 10_000

export interface SealLimits {
  /** A log with more committed bytes is brought to begin anew. */
  readonly sealBytes: number
  /** Longest time for which a seal tries to get a moment without a writer, while which it keeps others waiting. */
  readonly sealWaitMs: number
}

/**
 * The log is begun anew only when all of it is in the main file while nobody stands on it. A busy writer never leaves
 * such a moment, so here is one: writers are kept from beginning, what they wrote last is captured and copied, and
 * our own place is taken where nothing of the log is needed any more. Nothing is written that is not written anyway.
 */
export class LogSeal {
  readonly #limits: SealLimits
  #again: { readonly bytes: number; readonly atMs: number } | undefined

  constructor(limits: SealLimits) {
    this.#limits = limits
  }

  isDue(logBytes: number): boolean {
    if (logBytes <= this.#limits.sealBytes) return false
    const again = this.#again
    return !again || logBytes < again.bytes / GROWTH || logBytes >= again.bytes || performance.now() >= again.atMs
  }

  /** `look` captures what is committed, and answers whether it could; `logBytes` tells what is in the log then. */
  seal(pins: LogPins, look: () => boolean, logBytes: () => number): void {
    const { frames, backfilled } = pins.checkpoint() // most of it, while nobody waits
    let sealed = false
    if (frames > backfilled && pins.lockWriters(this.#limits.sealWaitMs)) {
      try {
        if (look()) {
          pins.dropAll()
          const after = pins.checkpoint()
          pins.pinNext()
          pins.dropOld()
          sealed = after.frames === after.backfilled
        }
      } finally {
        pins.letWriters()
      }
    }
    this.#again = { bytes: logBytes() * GROWTH, atMs: performance.now() + AGAIN_MS }
    if (sealed) this.#again = undefined
  }
}
