import type { BackupEvent } from '../contracts/events.ts'
import { BackupError, type ErrorCode, throwIfAborted, toBackupError } from '../errors.ts'
import type { LockTiming } from '../lock.ts'
import { type FollowHealth, FollowRecord } from './follow-health.ts'
import { MergesWhenDue } from './follow-merge.ts'
import type { FollowedSource } from './follow-source.ts'
import { FollowedChain } from './followed-chain.ts'
import { LogWriter } from './log-writer.ts'
import type { MadeBackup } from './make-backup.ts'
import type { Work } from './run.ts'

export interface FollowTiming {
  /** How often the whole catalogue is listed. */
  readonly relistMs: number
  /** What failed is tried again after this long, then after twice that, and so on. */
  readonly firstRetryMs: number
  readonly mostRetryMs: number
  /** How long the source is asked to wait for something: as long may `flush` take to begin. */
  readonly mostWaitMs: number
  /** Logs are merged once for so many that were committed. */
  readonly mergeEvery: number
  /** Never goes back. */
  readonly nowMs: () => number
  /** Default: as all locks. */
  readonly lock?: LockTiming
}

export interface FollowSessionOptions {
  readonly everyMs: number
  readonly idleEveryMs: number
  readonly onEvent?: (event: BackupEvent) => void
  readonly merge?: (signal: AbortSignal) => Promise<unknown>
}

/** A pause in which whoever waits for the plan's lock comes upon it free. */
const OTHERS_MS = 500

/** No later attempt would end otherwise. */
const FINAL: readonly ErrorCode[] = ['BASE_MISSING', 'BASE_UNUSABLE', 'KIND_UNSUPPORTED', 'CONTRACT_BROKEN']

interface Asked {
  resolve(): void
  reject(error: BackupError): void
}

/** Follows the log of one plan until it is stopped: one turn after another, each captures and commits. */
export class FollowSession {
  readonly #work: Work
  readonly #options: FollowSessionOptions
  readonly #timing: FollowTiming
  readonly #chain: FollowedChain
  readonly #writer: LogWriter
  readonly #record: FollowRecord
  readonly #merges: MergesWhenDue | undefined
  #end: () => void = () => {}
  readonly #ended = new Promise<void>((resolve) => {
    this.#end = resolve
  })
  #source: FollowedSource | undefined
  #opened = false
  #asked: Asked[] = []
  #wake: () => void = () => {}
  #failures = { source: 0, commit: 0 }
  #loggedMs: number
  #state: 'running' | 'stopping' | 'over' = 'running'

  constructor(work: Work, options: FollowSessionOptions, timing: FollowTiming) {
    const { everyMs, onEvent, merge } = options
    this.#work = work
    this.#options = options
    this.#timing = timing
    this.#record = new FollowRecord(timing.nowMs)
    this.#chain = new FollowedChain(work, timing.relistMs, timing.nowMs)
    this.#writer = new LogWriter(work, this.#chain, {
      everyMs,
      ...(onEvent && { onEvent }),
      ...(timing.lock && { lockTiming: timing.lock }),
      areMerged: merge !== undefined,
      onSource: (source) => this.#changeSource(source),
      onLogged: (made) => this.#logged(made),
    })
    this.#merges = merge && new MergesWhenDue(merge, timing.mergeEvery, (failure) => this.#merged(failure))
    this.#loggedMs = timing.nowMs()
  }

  /** Ends when it is stopped or aborted, or cannot go on. `onReady` is called once something is captured. */
  async run(onReady: () => void): Promise<void> {
    const { signal } = this.#work
    const wake = (): void => this.#wake()
    signal.addEventListener('abort', wake)
    let why = notFollowed()
    try {
      await this.#writer.source()
      onReady()
      while (this.#state === 'running') await this.#turn()
    } catch (thrown) {
      why = toBackupError(thrown, 'INTERNAL', 'The log could not be followed')
      throw why
    } finally {
      signal.removeEventListener('abort', wake)
      this.#state = 'over'
      await this.#merges?.close()
      await this.#writer.close()
      for (const { reject } of this.#asked.splice(0)) reject(why)
      this.#end()
    }
  }

  flush(): Promise<void> {
    if (this.#state === 'over') return Promise.reject(notFollowed())
    return new Promise((resolve, reject) => {
      this.#asked.push({ resolve, reject })
      this.#wake()
    })
  }

  async stop(): Promise<void> {
    if (this.#state === 'over') return
    let failure: unknown
    await this.#merges?.close() // it holds the plan's lock, for which the last log would wait
    await this.flush().catch((error: unknown) => {
      failure = error
    })
    const aborted = this.#work.signal.aborted
    if (this.#state === 'running') this.#state = 'stopping'
    this.#wake()
    await this.#ended
    if (failure && !aborted) throw failure
  }

  async health(): Promise<FollowHealth> {
    const status = await this.#source?.status().catch(() => undefined)
    const state = this.#state === 'over' ? 'stopped' : this.#source ? 'following' : 'restarting'
    return this.#record.health(state, status)
  }

  get #othersMs(): number {
    return Math.min(this.#options.everyMs, OTHERS_MS)
  }

  get #waitMs(): number {
    return Math.min(this.#options.everyMs, this.#timing.mostWaitMs)
  }

  async #turn(): Promise<void> {
    const asked = this.#asked.splice(0)
    const startedMs = this.#timing.nowMs()
    try {
      throwIfAborted(this.#work.signal)
      await this.#captureAndCommit(asked.length > 0)
      for (const { resolve } of asked) resolve()
      // The source itself waits for something to be there. This is for one that always has something, or does not wait.
      const logged = this.#loggedMs >= startedMs
      const leastMs = logged ? this.#options.everyMs : this.#waitMs
      const restMs = startedMs + leastMs - this.#timing.nowMs()
      // When a commit takes longer than that, others still have to get their turn: they look for the lock now and then.
      if (asked.length === 0) await this.#nap(logged ? Math.max(restMs, this.#othersMs) : restMs)
    } catch (thrown) {
      const error = toBackupError(thrown, 'INTERNAL', 'The log could not be followed')
      // A source that ended once is begun anew at once, for whoever waits.
      if (this.#source?.signal.aborted && this.#failures.source === 0) this.#asked.unshift(...asked)
      else for (const { reject } of asked) reject(error)
      throwIfAborted(this.#work.signal)
      await this.#nap(await this.#failed(error))
    }
  }

  /** Returns when there was nothing to commit for a while, or once everything is committed. */
  async #captureAndCommit(now: boolean): Promise<void> {
    const { nowMs } = this.#timing
    for (;;) {
      const source = await this.#writer.source()
      const beganMs = nowMs()
      const pending = await source.pending(now ? 0 : this.#waitMs).catch((error) => this.#writer.refused(error))
      if (source.signal.aborted) continue
      const idle = !now && nowMs() - this.#loggedMs >= this.#options.idleEveryMs
      if (!pending) this.#record.caughtUp(beganMs)
      if (!pending && !idle) return
      if (!(await this.#writer.commit(source))) continue
      this.#record.caughtUp(beganMs)
      return
    }
  }

  /** Takes a failure in, and answers after how long to try again. */
  async #failed(error: BackupError): Promise<number> {
    const { firstRetryMs, mostRetryMs } = this.#timing
    // Without our own lock it is somebody else who follows the log: two would write the same backups.
    if (FINAL.includes(error.code) || (error.code === 'PLAN_LOCKED' && !this.#writer.locked)) throw error
    const ended = this.#source?.signal.aborted ?? true
    if (ended) await this.#writer.drop()
    this.#chain.distrust()
    const another = this.#record.failed(error)
    // Somebody makes a backup or prunes: nothing is wrong, and nothing is lost.
    if (error.code === 'PLAN_LOCKED') return this.#waitMs
    const what = ended ? 'The log is not captured and is begun anew' : 'What is captured could not be stored'
    if (another) this.#work.warn(`${what}: ${error.message}`, error.code)
    const failures = ended ? ++this.#failures.source : ++this.#failures.commit
    return Math.min(mostRetryMs, firstRetryMs * 2 ** (failures - 1))
  }

  #changeSource(source: FollowedSource | undefined): void {
    this.#source = source
    if (source && this.#opened) this.#record.restarts += 1
    this.#opened ||= source !== undefined
    // So that a pause between two attempts to store does not become one between two attempts to capture.
    source?.signal.addEventListener('abort', () => this.#wake(), { once: true })
  }

  #logged({ manifest }: MadeBackup): void {
    const { plan, emit } = this.#work
    const lagMs = Math.round(this.#record.behindMs)
    const storedBytes = manifest.members.reduce((sum, { stored }) => sum + stored.bytes, 0)
    this.#record.committed(manifest, plan.runtime.now())
    this.#loggedMs = this.#timing.nowMs()
    this.#failures = { source: 0, commit: 0 }
    emit({ type: 'logged', backupId: manifest.id, storedBytes, lagMs })
    this.#merges?.count()
  }

  #merged(failure: unknown): void {
    // Other logs are there now, and what is next continues one of them.
    this.#chain.distrust()
    if (failure === undefined) return
    const error = toBackupError(failure, 'INTERNAL', 'mergeLogs failed')
    // Somebody else works on the plan: the next merge does what this one could not.
    if (error.code === 'PLAN_LOCKED') return
    this.#work.warn(`Logs could not be merged: ${error.message}`, error.code)
  }

  #nap(ms: number): Promise<void> {
    if (ms <= 0 || this.#asked.length > 0 || this.#state !== 'running' || this.#work.signal.aborted)
      return Promise.resolve()
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#wake = () => {}
        resolve()
      }
      const timer = setTimeout(wake, ms)
      this.#wake = wake
    })
  }
}

const notFollowed = (): BackupError => new BackupError('ABORTED', 'The log is not followed any more.')
