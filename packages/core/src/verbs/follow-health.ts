import type { LogSourceStatus } from '../contracts/adapter.ts'
import type { LogGap, Manifest } from '../contracts/backup.ts'
import type { BackupError } from '../errors.ts'

/** How following a log is doing. */
export interface FollowHealth {
  /** `restarting`: nothing is captured at the moment; what was committed meanwhile is captured afterwards. */
  readonly state: 'following' | 'restarting' | 'stopped'
  /**
   * How much would be lost if the source were gone now, in milliseconds: the age of the oldest thing that is captured and
   * in no committed backup, or the time since it was last captured what had been committed.
   */
  readonly lagMs: number
  /** Captured, and in no committed backup yet. */
  readonly pendingBytes: number
  /** Bytes that the engine keeps of its own log. */
  readonly logBytes: number
  /** When the last log was committed, and its id; absent before the first. */
  readonly committedAt?: Date
  readonly backupId?: string
  /** How often capturing had to be begun anew. */
  readonly restarts: number
  /** Stretches of this session that cannot be told apart any more; the last 100. */
  readonly gaps: readonly LogGap[]
  /** Why nothing could be committed last; absent once something could. */
  readonly lastError?: { readonly code: string; readonly message: string }
}

const MOST_GAPS = 100

/** Keeps what a {@link FollowHealth} tells. */
export class FollowRecord {
  readonly #nowMs: () => number
  #caughtUpMs: number
  #committed: { readonly committedAt: Date; readonly backupId: string } | undefined
  #gaps: readonly LogGap[] = []
  #error: BackupError | undefined
  #last: Pick<LogSourceStatus, 'pendingBytes' | 'logBytes'> = { pendingBytes: 0, logBytes: 0 }
  restarts = 0

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
    this.#caughtUpMs = nowMs()
  }

  /** All that had been committed in the database at `atMs` is in a backup. */
  caughtUp(atMs: number): void {
    this.#caughtUpMs = Math.max(this.#caughtUpMs, atMs)
  }

  get behindMs(): number {
    return this.#nowMs() - this.#caughtUpMs
  }

  committed({ id, gaps = [] }: Manifest, committedAt: Date): void {
    this.#committed = { committedAt, backupId: id }
    this.#gaps = [...this.#gaps, ...gaps].slice(-MOST_GAPS)
    this.#error = undefined
  }

  /** Answers whether this is another failure than the last one: the same may come again each second. */
  failed(error: BackupError): boolean {
    const before = this.#error
    this.#error = error
    const kindOf = ({ code, details }: BackupError): string => JSON.stringify([code, details])
    return !before || kindOf(before) !== kindOf(error)
  }

  /** `status` is that of the source, where there is one that answers. */
  health(state: FollowHealth['state'], status: LogSourceStatus | undefined): FollowHealth {
    if (status) this.#last = status
    const error = this.#error
    return {
      state,
      lagMs: Math.round(status ? lagOf(status, this.behindMs) : this.behindMs),
      pendingBytes: this.#last.pendingBytes,
      logBytes: this.#last.logBytes,
      ...this.#committed,
      restarts: this.restarts,
      gaps: this.#gaps,
      ...(error && { lastError: { code: error.code, message: error.message } }),
    }
  }
}

/** A source that was begun anew knows only since when it has captured, not since when there is something to capture. */
function lagOf({ pendingBytes, pendingMs, capturedMsAgo }: LogSourceStatus, behindMs: number): number {
  return pendingBytes > 0 ? Math.max(pendingMs, behindMs) : capturedMsAgo
}
