import { setTimeout as sleep } from 'node:timers/promises'
import { type JobTools, toBackupError } from '@taskflow-backup/core'
import type { BaseInput } from '../base-state.ts'
import type { FollowReplies, FollowRequest, Jobs, LogFacts } from '../jobs.ts'
import type { Start, Until } from './captured.ts'
import { CaptureClock } from './clock.ts'
import { LogTracker } from './log-tracker.ts'
import { readBase } from './read-base.ts'

/** SQLite is asked so often how long the log is, which changes nothing; the faster it grows, the more often. */
const GLANCE_MS = 100
const QUICK_GLANCE_MS = 20
/**
 * It is captured early when so much was committed: about what makes SQLite checkpoint by itself. The app's next commit
 * may copy to the main file what a look let go, so that has to be little.
 */
const GROWN_BYTES = 4 * 1024 * 1024
/** So many looks may fail one after another. */
const MOST_FAILURES = 3
const LONGEST_REST_MS = 30_000

/**
 * Captures once, and writes it to a file. The process must end without closing the connections.
 *
 * @throws `BASE_UNUSABLE`, and what `openSource` and `openImage` throw
 */
export async function writeLog(input: Jobs['log']['input']): Promise<LogFacts> {
  const tracker = await trackerFor(input, false)
  await tracker.look()
  return write(tracker, input)()
}

async function trackerFor(input: Jobs['log' | 'follow']['input'], follow: boolean): Promise<LogTracker> {
  const { base, skewMs, ...settings } = input
  const clock = new CaptureClock(base.notBefore, skewMs)
  return new LogTracker(await startOf(base), { settings, clock, follow })
}

const startOf = async (input: BaseInput): Promise<Start> => ({
  ...(await readBase(input)),
  notBefore: input.notBefore,
})

/** What is written is settled at once; the result makes the file, while which more may be captured. */
function write(
  tracker: LogTracker,
  { output, compression, until }: Pick<Jobs['log']['input'], 'output' | 'compression'> & { readonly until?: Until },
): () => Promise<LogFacts> {
  const { captured, notes } = tracker
  const database = tracker.database()
  const written = captured.write(output, compression, until)
  written.catch(() => {}) // thrown where it is awaited
  return async () => ({ ...(await written), database, notes })
}

/**
 * Captures again and again, and answers what the parent asks, until the process is ended.
 *
 * @throws `BASE_UNUSABLE` and the like, when nothing that was captured waits for a backup any more
 */
export async function followLog(input: Jobs['follow']['input'], { onAsk }: JobTools): Promise<never> {
  const tracker = await trackerFor(input, true)
  await tracker.look()
  const follower = new Follower(tracker, input.everyMs)
  onAsk((request) => follower.answer(request as FollowRequest))
  return follower.run()
}

/** Does one thing after the other. */
class Row {
  #last: Promise<unknown> = Promise.resolve()

  next<T>(work: () => T | Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    this.#last = result.catch(() => {})
    return result
  }
}

/**
 * Looks and answers. A look never waits for a backup: while one is written, the log would grow. What was captured and
 * is written stays where it is until the answer, because what would move it waits in the second row.
 */
class Follower {
  readonly #tracker: LogTracker
  readonly #everyMs: number
  readonly #looks = new Row()
  readonly #backups = new Row()
  readonly #waiting = new Set<() => void>()
  #failures = 0

  constructor(tracker: LogTracker, everyMs: number) {
    this.#tracker = tracker
    this.#everyMs = everyMs
  }

  async run(): Promise<never> {
    for (;;) {
      await this.#rest()
      try {
        await this.#looks.next(() => this.#look())
      } catch (error) {
        this.#failures++
        const isFinal = this.#failures >= MOST_FAILURES || toBackupError(error, 'INTERNAL', '').code === 'BASE_UNUSABLE'
        // What was captured is not given up: it ends as soon as that is stored.
        if (isFinal && !this.#tracker.captured.isPending) throw error
      }
    }
  }

  async #look(urgent = false): Promise<void> {
    await this.#tracker.look({ urgent })
    this.#failures = 0
    if (this.#tracker.captured.isPending) for (const tell of this.#waiting) tell()
  }

  /** Until the next look is due, or the log has grown a lot. */
  async #rest(): Promise<void> {
    const restMs = Math.min(this.#everyMs * 2 ** this.#failures, Math.max(LONGEST_REST_MS, this.#everyMs))
    const startedMs = performance.now()
    let glanceMs = QUICK_GLANCE_MS
    for (let passedMs = 0; passedMs < restMs; passedMs = performance.now() - startedMs) {
      const leftMs = restMs - passedMs
      await sleep(Math.min(leftMs, this.#failures > 0 ? leftMs : glanceMs))
      const bytes = this.#tracker.bytesSince()
      if (bytes > GROWN_BYTES) return
      glanceMs = glanceAfter(bytes, performance.now() - startedMs)
    }
  }

  answer(request: FollowRequest): unknown {
    const { captured } = this.#tracker
    switch (request.ask) {
      case 'status':
        return this.#status()
      case 'pending':
        if (request.waitMs === 0) return this.#pendingNow()
        return captured.isPending || this.#untilPending(request.waitMs)
      case 'write':
        return this.#backups.next(async () => {
          const facts = await this.#looks.next(async () => {
            // What comes after `until` is captured all the same. A failure is told by the loop; what is there is written.
            await this.#look(request.until !== undefined).catch(() => {})
            return write(this.#tracker, request)
          })
          return facts()
        })
      case 'committed':
        return this.#backups.next(() =>
          this.#looks.next(() => {
            this.#tracker.captured.committed()
            return null
          }),
        )
      case 'continueFrom':
        return this.#backups.next(async () => {
          const start = await startOf(request.base)
          return this.#looks.next(async () => {
            this.#tracker.continueFrom(start)
            await this.#look(true)
            return null
          })
        })
    }
  }

  async #pendingNow(): Promise<boolean> {
    await this.#looks.next(() => this.#look(true))
    return this.#tracker.captured.isPending
  }

  #untilPending(waitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const answer = (isPending: boolean): void => {
        clearTimeout(timer)
        this.#waiting.delete(tell)
        resolve(isPending)
      }
      const tell = (): void => answer(true)
      const timer = setTimeout(() => answer(false), waitMs)
      this.#waiting.add(tell)
    })
  }

  #status(): FollowReplies['status'] {
    const { captured, logBytes, now } = this.#tracker
    return {
      pendingBytes: captured.pendingBytes,
      pendingMs: captured.pendingSince === undefined ? 0 : Math.max(0, now - captured.pendingSince),
      logBytes,
      capturedMsAgo: Math.max(0, now - captured.lastLookAt),
    }
  }
}

/** When half of the time has passed in which it would grow too long, at the pace of the last `passedMs`. */
function glanceAfter(bytes: number, passedMs: number): number {
  const untilGrownMs = (passedMs * (GROWN_BYTES - bytes)) / bytes // without an end when there was nothing
  return Math.max(QUICK_GLANCE_MS, Math.min(GLANCE_MS, untilGrownMs / 2))
}
