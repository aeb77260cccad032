import type { BackupPlan } from '../plan.ts'
import type { MergeOptions } from './merge-logs.ts'

/** How logs are merged while they are followed. */
export type FollowMergeOptions = Pick<MergeOptions, 'everyMoment' | 'resolutionMs' | 'most'>

/** Merges what can be merged: `mergeLogs`. */
export type MergeLogs = (plan: BackupPlan, options: MergeOptions) => Promise<unknown>

/** Merges beside the following, once for every so many committed logs, never two at the same time. */
export class MergesWhenDue {
  readonly #merge: (signal: AbortSignal) => Promise<unknown>
  readonly #every: number
  readonly #onDone: (failure?: unknown) => void
  readonly #ended = new AbortController()
  #committed = 0
  #running: Promise<void> | undefined

  /** `onDone` is called after each merge; with what it failed of, if it did. */
  constructor(merge: (signal: AbortSignal) => Promise<unknown>, every: number, onDone: (failure?: unknown) => void) {
    this.#merge = merge
    this.#every = every
    this.#onDone = onDone
  }

  /** One more log is committed. */
  count(): void {
    this.#committed += 1
    if (this.#committed < this.#every || this.#running || this.#ended.signal.aborted) return
    this.#committed = 0
    this.#running = this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Ends a merge that is under way. */
  async close(): Promise<void> {
    this.#ended.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    try {
      await this.#merge(this.#ended.signal)
      this.#onDone()
    } catch (error) {
      this.#onDone(this.#ended.signal.aborted ? undefined : error)
    }
  }
}
