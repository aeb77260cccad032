import type { LogPins } from './log-pins.ts'

/** A seal that others prevented is tried again when the log has grown by so much, or after so long. */
const GROWTH = 1.25
const AGAIN_MS = 10_000
/** Down to so few frames are captured and copied before writers have to wait, if that takes no more rounds than that. */
const FEW_FRAMES = 128
const MOST_ROUNDS = 4
/** The app's own checkpoint is waited for so long while writers wait. */
const CHECKPOINT_WAIT_MS = 200

export interface SealLimits {
  /** A log with more committed bytes is brought to begin anew. */
  readonly sealBytes: number
  /** With so much that is not captured, writers are faster than who follows, and have to wait for it at once. */
  readonly behindBytes: number
  /** Longest time for which a seal tries to get a moment without a writer. Nobody waits for it meanwhile. */
  readonly sealWaitMs: number
  /** With more than this in the log, a seal that came upon another writer or checkpoint is tried at every look, for `mostWaitMs`. */
  readonly mostBytes: number
  readonly mostWaitMs: number
}

/** Who captures, for a seal. */
export interface Capturing {
  /** Captures what is committed, and answers whether it could. */
  look(): boolean
  /** Committed bytes in the log at the last look, and since. */
  readonly logBytes: number
  bytesSince(): number
}

/**
 * The log is begun anew only when all of it is in the main file while nobody stands on it. A busy writer never leaves
 * such a moment, so here is one: writers are kept from beginning, what they wrote last is captured and copied, and
 * our own place is taken where nothing of the log is needed any more. Nothing is written that is not written anyway.
 */
export class LogSeal {
  readonly #limits: SealLimits
  #again: { readonly bytes: number; readonly atMs: number; readonly busy: boolean } | undefined

  constructor(limits: SealLimits) {
    this.#limits = limits
  }

  /** Before a look: when there is too much to capture it while others write on. */
  sealWhenBehind(pins: LogPins, capturing: Capturing): void {
    const bytes = capturing.bytesSince()
    if (bytes > this.#limits.behindBytes && this.#isDue(capturing.logBytes + bytes)) this.#seal(pins, capturing)
  }

  /** After a look. */
  sealWhenDue(pins: LogPins, capturing: Capturing): void {
    if (!this.#isDue(capturing.logBytes)) return
    if (this.#leaveFew(pins, capturing)) this.#seal(pins, capturing)
  }

  #isDue(logBytes: number): boolean {
    if (logBytes <= this.#limits.sealBytes) return false
    const again = this.#again
    if (!again || (again.busy && logBytes > this.#limits.mostBytes)) return true
    return logBytes < again.bytes / GROWTH || logBytes >= again.bytes || performance.now() >= again.atMs
  }

  /**
   * Captures and copies while nobody waits, until little is left, or it does not become less. False when nothing is:
   * then the last look took a place where nothing of the log is needed any more.
   */
  #leaveFew(pins: LogPins, capturing: Capturing): boolean {
    let left = Number.POSITIVE_INFINITY
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const { frames, backfilled } = pins.checkpoint()
      const before = left
      left = frames - backfilled
      if (left > 0 && (left <= FEW_FRAMES || left > before / 2)) return true
      if (capturing.bytesSince() > this.#limits.behindBytes) return true
      if (!capturing.look() || left === 0) return false
    }
    return true
  }

  #seal(pins: LogPins, capturing: Capturing): void {
    const { sealWaitMs, mostBytes, mostWaitMs } = this.#limits
    let busy = true
    let sealed = false
    if (pins.lockWriters(capturing.logBytes > mostBytes ? mostWaitMs : sealWaitMs)) {
      try {
        if (capturing.look()) {
          // We stand behind the last commit, which keeps nothing from being copied. The place is left when there is a new one.
          const after = pins.checkpoint(CHECKPOINT_WAIT_MS)
          pins.pinNext()
          pins.dropOld()
          busy = after.busy
          sealed = after.frames === after.backfilled
        }
      } finally {
        pins.letWriters()
      }
    }
    const again = { bytes: capturing.logBytes * GROWTH, atMs: performance.now() + AGAIN_MS, busy }
    this.#again = sealed ? undefined : again
  }
}
