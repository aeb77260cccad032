import type { BackupBase, LogSource, LogSourceStatus } from '../contracts/adapter.ts'
import type { Manifest } from '../contracts/backup.ts'
import { BackupError, toBackupError } from '../errors.ts'
import type { BackupSource } from './make-backup.ts'
import type { Work } from './run.ts'

/** A log source that says at once, and for good, when it can no longer be used. */
export class FollowedSource {
  readonly #source: LogSource
  readonly #life: AbortController
  readonly #outer: AbortSignal
  readonly #end: () => void
  /** Only one call waits at a time. */
  #interrupt: ((error: unknown) => void) | undefined

  private constructor(source: LogSource, life: AbortController, outer: AbortSignal, end: () => void) {
    this.#source = source
    this.#life = life
    this.#outer = outer
    this.#end = end
    life.signal.addEventListener('abort', () => this.#interrupt?.(life.signal.reason), { once: true })
    source.ended.then(
      () => this.fail(new BackupError('CONTRACT_BROKEN', 'The source of the log ended without saying why.')),
      (error: unknown) => this.fail(error),
    )
  }

  /** @throws what `follow` of the adapter throws */
  static async open(
    { plan, adapterContext }: Pick<Work, 'plan' | 'adapterContext'>,
    base: BackupBase,
    everyMs: number,
    signal: AbortSignal,
  ): Promise<FollowedSource> {
    const { adapter } = plan
    if (!adapter.follow) throw new BackupError('KIND_UNSUPPORTED', `The ${adapter.engine} adapter follows no log.`)
    const life = new AbortController()
    const end = (): void => life.abort(signal.reason)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
    try {
      const source = await adapter.follow(base, { everyMs }, adapterContext('following', life.signal))
      return new FollowedSource(source, life, signal, end)
    } catch (error) {
      signal.removeEventListener('abort', end)
      throw error
    }
  }

  /** Aborted when it ended, for whatever reason. */
  get signal(): AbortSignal {
    return this.#life.signal
  }

  /** It is not to be used any more. */
  fail(error: unknown): void {
    if (!this.#life.signal.aborted)
      this.#life.abort(toBackupError(error, 'CHILD_FAILED', 'The source of the log ended'))
  }

  // Whichever of its calls fails, it is not to be used any more.

  pending(waitMs: number): Promise<boolean> {
    return this.#call(() => this.#source.pending(waitMs))
  }

  committed(manifest: Manifest): Promise<void> {
    return this.#call(() => this.#source.committed(manifest))
  }

  continueFrom(base: BackupBase): Promise<void> {
    return this.#call(() => this.#source.continueFrom(base))
  }

  status(): Promise<LogSourceStatus> {
    return this.#source.status()
  }

  /** What is pending, up to the state of the full `until`. */
  backup(until?: Manifest): BackupSource {
    const [source, fail] = [this.#source, (error: unknown) => this.fail(error)]
    return async function* (request, ctx) {
      try {
        return yield* source.backup(request, ctx, until)
      } catch (error) {
        // What it threw itself is its own fault. A destination's would have ended it from outside.
        if (!ctx.signal.aborted) fail(error)
        throw error
      }
    }
  }

  async close(): Promise<void> {
    this.#outer.removeEventListener('abort', this.#end)
    try {
      await this.#source.close()
    } finally {
      this.fail(new BackupError('ABORTED', 'The log is not followed any more.'))
    }
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#interrupt = reject
        if (this.#life.signal.aborted) reject(this.#life.signal.reason)
        else work().then(resolve, reject)
      })
    } catch (error) {
      this.fail(error)
      throw error
    } finally {
      this.#interrupt = undefined
    }
  }
}

export const isBaseUnusable = (error: unknown): error is BackupError =>
  error instanceof BackupError && error.code === 'BASE_UNUSABLE'
