import type { LogMark } from '../changes/format.ts'
import type { Captured } from './captured.ts'
import type { CaptureClock } from './clock.ts'
import type { LogPins, LogView } from './log-pins.ts'
import { FRAME_HEADER_BYTES } from './wal.ts'
import { beginOf, carries, isKept, verifyFrames } from './wal-frames.ts'

export interface LogReaderOptions {
  /** Where the log was at the last backup, if that is known. */
  readonly mark: LogMark | undefined
  readonly clock: CaptureClock
  /** What was begun to be stored and could not be, cannot stay half done. */
  readonly onHalf: () => void
}

/** Takes what was committed from the frames of the write-ahead log, where they provably go on. */
export class LogReader {
  readonly #clock: CaptureClock
  readonly #onHalf: () => void
  #mark: LogMark | undefined
  /** Who has stood on the log without a break since `#mark`. */
  #heldBy: LogPins | undefined
  #logBytes = 0

  constructor({ mark, clock, onHalf }: LogReaderOptions) {
    this.#mark = mark
    this.#clock = clock
    this.#onHalf = onHalf
  }

  /** Committed bytes in the log at the last look. */
  get logBytes(): number {
    return this.#logBytes
  }

  /** Bytes that were committed since the last look. Changes nothing. */
  bytesSince(pins: LogPins, pageSize: number): number {
    const bytes = pins.frames() * (FRAME_HEADER_BYTES + pageSize)
    return bytes < this.#logBytes ? bytes : bytes - this.#logBytes
  }

  isHeldBy(pins: LogPins): boolean {
    return this.#heldBy === pins
  }

  /** From now on it goes on from `mark`; `pins` has stood on the log since then, if it is given. */
  goOnFrom(mark: LogMark | undefined, pins?: LogPins): void {
    this.#mark = mark
    this.#heldBy = pins
  }

  /** @returns why it has to be compared, if it has */
  look(pins: LogPins, captured: Captured): string | undefined {
    const lookedAt = this.#clock.now()
    pins.pinNext()
    let view: LogView
    try {
      view = pins.view()
    } catch (error) {
      // Without the right to write, SQLite does not tell the mark.
      if ((error as { code?: unknown }).code === 'SQLITE_READONLY') return 'The write-ahead log cannot be read.'
      throw error
    }
    const reason = this.#capture(view, this.isHeldBy(pins), captured, lookedAt)
    if (reason !== undefined) return reason
    pins.dropOld()
    this.#heldBy = pins
    return undefined
  }

  #capture(
    { frames, backfilled, log }: LogView,
    held: boolean,
    captured: Captured,
    lookedAt: number,
  ): string | undefined {
    const capturedAt = this.#clock.now()
    const before = captured.table.state
    const { pageSize } = captured.table
    const endEmpty = (): void => {
      const mark = this.#mark
      captured.endStep(before, { lookedAt, capturedAt, how: 'log', ...(mark && { mark }) })
    }
    this.#logBytes = frames * (FRAME_HEADER_BYTES + pageSize)
    if (!log) {
      // Emptied by a checkpoint, which cannot pass by us.
      if (!held) return NOT_HELD
      endEmpty()
      return undefined
    }
    const begin = beginOf(log.header)
    const goesOn = this.#mark?.salts === begin.salts
    if (!goesOn && !held) return this.#mark ? NOT_HELD : NO_MARK
    const from = goesOn ? (this.#mark as LogMark) : begin
    if (frames < from.frame) return CHANGED
    // While somebody of ours stands on the log, it needs no proof; and when all of it was captured and is in the main
    // file, a writer may begin it anew just now.
    if (!held && !carries(log.fd, from, pageSize)) return CHANGED
    // Nobody stood on the log before, and all of it is in the main file: a writer may begin it anew at any time.
    const isFirm = held || frames > backfilled || isKept(frames - from.frame, pageSize)
    if (!isFirm) return NOT_HELD
    if (frames === from.frame) {
      endEmpty()
      return undefined
    }
    const verified = verifyFrames(log.fd, log.header, from, frames, pageSize)
    if (typeof verified === 'string') return verified
    try {
      verified.visit(captured.visitor)
      captured.endStep(before, { lookedAt, capturedAt, how: 'log', mark: verified.mark })
    } catch (error) {
      this.#onHalf()
      throw error
    }
    this.#mark = verified.mark
    return undefined
  }
}

const NOT_HELD = 'The write-ahead log was begun anew since the last backup, or belongs to another file.'
const CHANGED = 'The write-ahead log was changed by something else than SQLite, or lost its end.'
const NO_MARK = 'It is not known where the write-ahead log was at the last backup.'
