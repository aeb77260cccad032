import type { Compression } from '../contracts/adapter.ts'
import type { BackupEvent } from '../contracts/events.ts'
import type { BackupError } from '../errors.ts'
import { acquireLock, type Lock, type LockTiming } from '../lock.ts'
import type { Destination } from '../plan.ts'
import { upgrade } from './find-base.ts'
import { FollowedSource, isBaseUnusable } from './follow-source.ts'
import { type FollowedChain, isLog, type LogStart } from './followed-chain.ts'
import { type MadeBackup, makeBackup } from './make-backup.ts'
import { type HeldLock, lockHome, runVerb, type Work, withLock } from './run.ts'

export interface LogWriterOptions {
  readonly everyMs: number
  readonly onEvent?: (event: BackupEvent) => void
  readonly lockTiming?: LockTiming
  /** Its logs live only until they are merged, which compresses them as the plan says. */
  readonly areMerged: boolean
  /** A source is there, or is there no more. */
  readonly onSource: (source: FollowedSource | undefined) => void
  /** A log is committed. Called before anything else can fail. */
  readonly onLogged: (made: MadeBackup) => void
}

/** Writes what a source captures into the plan's newest chain. It is the only one who writes logs of this plan. */
export class LogWriter {
  readonly #work: Work
  readonly #chain: FollowedChain
  readonly #options: LogWriterOptions
  #lock: Lock | undefined
  #source: FollowedSource | undefined
  /** Chains that cannot be continued, and why. */
  readonly #unusable = new Map<string, string>()
  /** Chains and destinations of which it was told that they do not go together. */
  readonly #told = new Set<string>()

  constructor(work: Work, chain: FollowedChain, options: LogWriterOptions) {
    this.#work = work
    this.#chain = chain
    this.#options = options
  }

  get locked(): boolean {
    return this.#lock !== undefined
  }

  /**
   * The source, begun where the catalogue ends when there is none. Where no chain can be continued, a full is made.
   *
   * @throws `PLAN_LOCKED` when somebody else follows the log; `BASE_UNUSABLE` also when a new full does not help
   */
  async source(): Promise<FollowedSource> {
    await this.#holdLock()
    if (this.#source) return this.#source
    for (let made = false; ; made = true) {
      const start = await this.#chain.read()
      let reason = isLog(start) ? this.#unusable.get(start.chain) : start.requested?.reason
      if (isLog(start) && reason === undefined) {
        try {
          return await this.#open(start)
        } catch (error) {
          if (!isBaseUnusable(error) || this.#work.plan.strictKinds || made) throw error
          reason = error.message
          this.#unusable.set(start.chain, reason)
        }
      }
      await this.#makeFull(reason ?? 'There is no chain that a log could continue.')
    }
  }

  /** Commits everything that is captured; false when another source has to be opened first. */
  async commit(source: FollowedSource): Promise<boolean> {
    const work = { ...this.#work, signal: source.signal }
    const commit = async (signal: AbortSignal, lock: HeldLock): Promise<boolean> => {
      const next = await this.#chain.changed()
      if (!next) {
        await this.#store(source, signal, lock)
        return true
      }
      const { start } = this.#chain
      if (isLog(next) && next.chain !== start.chain) {
        // Up to the new full it belongs to the old chain: no moment of it would be reachable from the new one.
        if (this.#chain.isListed(start.chain)) await this.#store(source, signal, lock, next)
        if (await continued(source, next)) {
          this.#use(next)
          return false
        }
      }
      // Somebody wrote or removed logs of this chain, or there is none any more.
      await this.drop()
      return false
    }
    return withLock(work, 'followLog', 'write', commit, this.#lock?.key).catch((error) => this.refused(error))
  }

  /**
   * Takes in that the source cannot go on with its chain; `source` makes a full then.
   *
   * @throws any other error, and with `strictKinds` this one too
   */
  async refused(error: unknown): Promise<false> {
    if (!isBaseUnusable(error) || this.#work.plan.strictKinds) throw error
    this.#unusable.set(this.#chain.start.chain, error.message)
    await this.drop()
    return false
  }

  /** Lets go of the source; what it has captured and nobody stored is captured again by the next. */
  async drop(): Promise<void> {
    const source = this.#source
    this.#source = undefined
    if (!source) return
    this.#options.onSource(undefined)
    await source.close().catch(() => {}) // it ended: that is why it is dropped, or it does not matter
  }

  /** Leaves neither a source nor a lock. */
  async close(): Promise<void> {
    await this.drop()
    const lock = this.#lock
    this.#lock = undefined
    await lock?.release().catch((error: BackupError) => this.#work.warn(error.message, error.code))
  }

  async #holdLock(): Promise<void> {
    const { plan, signal } = this.#work
    try {
      this.#lock?.assertBeating()
      if (this.#lock) return
    } catch {
      // Lost: somebody else may have followed the log meanwhile, and committed what we do not know.
      const lost = this.#lock
      this.#lock = undefined
      this.#chain.distrust()
      await lost?.release().catch(() => {})
    }
    const home = lockHome(plan) as Destination
    const request = { mode: 'follow', verb: 'followLog', waitMs: plan.lockWaitMs, signal } as const
    this.#lock = await acquireLock(home.storage, plan.name, request, plan.runtime, this.#options.lockTiming)
  }

  async #open(start: LogStart): Promise<FollowedSource> {
    const source = await FollowedSource.open(this.#work, start.base, this.#options.everyMs, this.#work.signal)
    this.#source = source
    this.#use(start)
    this.#options.onSource(source)
    return source
  }

  #use(start: LogStart): void {
    this.#chain.use(start)
    for (const name of start.without ?? []) this.#tellLeftOut(start.chain, name, true)
  }

  #tellLeftOut(chain: string, name: string, aloud: boolean): void {
    const key = `${chain} ${name}`
    if (aloud && !this.#told.has(key))
      this.#work.warn(`Destination ${name} gets no logs until the next full: it does not hold the whole chain.`)
    this.#told.add(key)
  }

  /** Under the write lock. Up to the state of the full of `until`, when that is given. */
  async #store(source: FollowedSource, signal: AbortSignal, lock: HeldLock, until?: LogStart): Promise<void> {
    const { start } = this.#chain
    const both = {
      assertHeld: async (): Promise<void> => {
        await lock.assertHeld()
        this.#lock?.assertBeating()
      },
    }
    const from = source.backup(until?.base.full.manifest)
    const { without = new Set(), ...rest } = start
    const made = await makeBackup(this.#quiet(without), signal, both, rest, from)
    this.#chain.advance(start, made)
    // Why is told already.
    for (const { name, error } of made.destinations) if (error) this.#tellLeftOut(start.chain, name, false)
    this.#options.onLogged(made)
    await source.committed(made.manifest)
  }

  /** For one log of many: only warnings are told, and nothing of destinations that are left out anyway. */
  #quiet(without: ReadonlySet<string>): Work {
    const work = this.#work
    const { destinations, compression } = work.plan
    const plan = {
      ...work.plan,
      destinations: destinations.filter(({ name, storage }) => !without.has(name) && !storage.capabilities.readOnly),
      compression: this.#options.areMerged ? quickly(compression) : compression,
    }
    return {
      ...work,
      plan,
      emit: (event) => {
        if (event.type === 'warning') work.emit(event)
      },
      adapterContext: (phase, signal) => ({ ...work.adapterContext(phase, signal), onProgress: () => {} }),
    }
  }

  /** A backup of its own, told as one. */
  async #makeFull(reason: string): Promise<void> {
    const { plan } = this.#work
    const { onEvent } = this.#options
    await withLock(this.#work, 'followLog', 'write', async (signal, lock) => {
      // Somebody else may have made one while we waited.
      const start = await this.#chain.read()
      if (isLog(start) && !this.#unusable.has(start.chain)) return
      await runVerb(plan, 'createBackup', { signal, ...(onEvent && { onEvent }) }, async (work) => {
        const { manifest } = await makeBackup(work, signal, lock, upgrade('log', reason))
        return { result: undefined, completed: { backupId: manifest.id, kind: manifest.kind } }
      })
    })
  }
}

async function continued(source: FollowedSource, { base }: LogStart): Promise<boolean> {
  // Logs that somebody else wrote there are not what the source captured.
  if (base.newestLog) return false
  try {
    await source.continueFrom(base)
    return true
  } catch (error) {
    if (isBaseUnusable(error)) return false
    throw error
  }
}

/** Higher levels take more of the processor each second than it is worth for logs that live for a minute. */
const QUICK_LEVEL = { zstd: 3, gzip: 1, none: 0 } as const

const quickly = ({ algorithm, level }: Compression): Compression => ({
  algorithm,
  level: Math.min(level, QUICK_LEVEL[algorithm]),
})
