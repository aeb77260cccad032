import { type JobTools, toBackupError } from '@taskflow-backup/core'
import type { BaseInput } from '../base-state.ts'
import type { FollowReplies, FollowRequest, Jobs, LogFacts } from '../jobs.ts'
import type { Start, Until } from './captured.ts'
import { CaptureClock } from './clock.ts'
import { LogTracker } from './log-tracker.ts'
import { readBase } from './read-base.ts'

/** The log's file is looked at so often, which opens nothing. */
const GLANCE_MS = 100
/** It is captured early when the log has grown by so much. */
const GROWN_BYTES = 64 * 1024 * 1024
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
  return write(tracker, input)
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

async function write(
  tracker: LogTracker,
  { output, compression, until }: Pick<Jobs['log']['input'], 'output' | 'compression'> & { readonly until?: Until },
): Promise<LogFacts> {
  const written = await tracker.captured.write(output, compression, until)
  return { ...written, database: tracker.database(), notes: tracker.notes }
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

/** Looks and answers, one after the other. */
class Follower {
  readonly #tracker: LogTracker
  readonly #everyMs: number
  #turn: Promise<unknown> = Promise.resolve()
  #wake: () => void = () => {}
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
        await this.#inTurn(() => this.#look())
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
    const before = this.#tracker.logFileBytes()
    await new Promise<void>((resolve) => {
      const glances =
        restMs > GLANCE_MS &&
        setInterval(() => {
          if (this.#tracker.logFileBytes() - before > GROWN_BYTES) this.#wake()
        }, GLANCE_MS)
      const due = setTimeout(() => this.#wake(), restMs)
      this.#wake = () => {
        if (glances) clearInterval(glances)
        clearTimeout(due)
        resolve()
      }
    })
  }

  #inTurn<T>(work: () => T | Promise<T>): Promise<T> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => {})
    return result
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
        return this.#inTurn(async () => {
          // What comes after `until` is captured all the same. A failure is told by the loop; what is there is written.
          await this.#look(request.until !== undefined).catch(() => {})
          return write(this.#tracker, request)
        })
      case 'committed':
        return this.#inTurn(() => {
          this.#tracker.captured.committed()
          return null
        })
      case 'continueFrom':
        return this.#inTurn(async () => {
          this.#tracker.continueFrom(await startOf(request.base))
          await this.#look(true)
          return null
        })
    }
  }

  async #pendingNow(): Promise<boolean> {
    await this.#inTurn(() => this.#look(true))
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
