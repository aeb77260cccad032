import type { BackupAdapter, BackupRequest, OpenBackup } from '../contracts/adapter.ts'
import type { Manifest } from '../contracts/backup.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import type { Lock } from '../lock.ts'
import { ManifestReader } from '../manifest-reader.ts'
import { openBackup } from '../open-backup.ts'
import type { BackupPlan, Destination } from '../plan.ts'
import { approximateHours, type DurationInput, parseDuration } from '../retention/duration.ts'
import { type ChainOfLogs, type FoundRun, findMerges } from './find-merges.ts'
import { type BackupSource, type MadeBackup, makeBackup } from './make-backup.ts'
import type { MergeSettings } from './plan-merges.ts'
import { removeSuperseded } from './remove-superseded.ts'
import { isAboutDestination } from './restore-backup.ts'
import { runVerb, type VerbOptions, type Work, withLock } from './run.ts'

/** No merged log becomes larger than this, in plain bytes. */
const MOST_BYTES = 256 * 1024 * 1024
/** A log backup may wait for the lock: it is let go, and what is left is looked at anew, after about this long. */
const ROUND_MS = 2000
const DEFAULT_MOST = 60
const DEFAULT_RESOLUTION_MS = 60_000

export interface MergeOptions extends VerbOptions {
  /**
   * How long every moment that was captured stays reachable, for engines whose logs hold captured moments; what is
   * older keeps one in `resolutionMs`. `false`: for ever. Months and years count with their average length.
   * Default: `'7d'`.
   */
  readonly everyMoment?: DurationInput | false
  /** How far apart the moments are that stay reachable after that, in milliseconds. Default: 60,000. */
  readonly resolutionMs?: number
  /** How many logs become one. 2 to 1,000. Default: 60. */
  readonly most?: number
}

/** A log backup that was made of others. */
export interface MergedLog {
  readonly id: string
  /** Ids of the logs that it was made of, oldest first. */
  readonly inputs: readonly string[]
  /** Whether moments were taken out of it. */
  readonly thinned: boolean
  readonly plainBytes: number
  readonly storedBytes: number
}

export interface MergeResult {
  readonly merged: readonly MergedLog[]
  /** Ids of the logs that were removed because a merged one stands for them. */
  readonly removed: readonly string[]
  /**
   * Ids of those that still have to be: something was being read from the plan, or the merged one was damaged. The next
   * call removes them.
   */
  readonly waiting: readonly string[]
}

/**
 * Makes few large log backups of many small ones, so that recoveries stay fast and listings short.
 *
 * A merged log is stored first, then what it was made of is removed: at every moment every state can be restored that
 * could be before, but for moments that are older than `everyMoment`. A merged log that does not read back as it was
 * written is mended first, from another destination or from what it was made of. Logs of chains on hold are left alone,
 * as are those that a required destination lacks. Works on the newest chain, and on older ones when they have become
 * older than `everyMoment` as a whole.
 *
 * @throws `MERGE_UNSUPPORTED`, `OPTIONS_INVALID`, `STORAGE_READ_ONLY`, `PLAN_LOCKED`, `DESTINATION_FAILED`, `ABORTED`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, mergeLogs } from '@taskflow-backup/core'
 * import { ledger } from '@taskflow-backup/testing'
 *
 * const source = ledger()
 * const plan = defineBackupPlan({ name: 'books', adapter: source.adapter, destinations: [memory()] })
 * await createBackup(plan)
 * for (let hour = 0; hour < 6; hour++) {
 *   source.append(`hour ${hour}`)
 *   await createBackup(plan, { kind: 'log' })
 * }
 * const { merged, removed } = await mergeLogs(plan, { most: 3 })
 * console.log(merged.length, removed.length) // 2 6
 * ```
 */
export async function mergeLogs(plan: BackupPlan, options: MergeOptions = {}): Promise<MergeResult> {
  const resolutionMs = options.resolutionMs ?? DEFAULT_RESOLUTION_MS
  const settings = checkMergeOptions(plan, options)
  return runVerb(plan, 'mergeLogs', options, async (work) => {
    const { merge } = plan.adapter
    if (!merge)
      throw new BackupError('MERGE_UNSUPPORTED', `The ${plan.adapter.engine} adapter cannot make one log of several.`)
    const closed = plan.destinations.find(({ required, storage }) => required && storage.capabilities.readOnly)
    if (closed)
      throw new BackupError('STORAGE_READ_ONLY', `Destination ${closed.name} is required and can only be read.`)
    work.emit({ type: 'started' })
    const merger = new Merger(work, merge.bind(plan.adapter), resolutionMs)
    const manifests = new ManifestReader(plan, work.warn)
    let chains: ChainOfLogs[] = []
    for (let done = false; !done; ) {
      await withLock(work, 'mergeLogs', 'write', async (signal, lock) => {
        chains = await findMerges(work, manifests, settings)
        done = await merger.mergeSome(chains, signal, lock)
      })
    }
    const { removed, waiting } = await removeSuperseded(work, manifests, chains)
    return { result: { merged: merger.merged, removed, waiting } }
  })
}

/** @throws `OPTIONS_INVALID` */
export function checkMergeOptions(plan: BackupPlan, options: Omit<MergeOptions, keyof VerbOptions>): MergeSettings {
  const { everyMoment = '7d', most = DEFAULT_MOST, resolutionMs = DEFAULT_RESOLUTION_MS } = options
  const isWhole = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least
  if (!isWhole(most, 2) || most > 1000)
    throw new BackupError('OPTIONS_INVALID', '`most` must be a whole number from 2 to 1,000.')
  if (!isWhole(resolutionMs, 1))
    throw new BackupError('OPTIONS_INVALID', '`resolutionMs` must be a whole number of milliseconds, from 1.')
  const hours = everyMoment === false ? undefined : approximateHours(parseDuration(everyMoment, '`everyMoment`'))
  // Where a log leads to every moment there is none to take out, and where it leads to its end only there is just one.
  const thins = hours !== undefined && plan.adapter.pointInTime === 'captured'
  return {
    most,
    mostBytes: MOST_BYTES,
    ...(thins && { thinBefore: new Date(plan.runtime.now().getTime() - hours * 3_600_000) }),
  }
}

/** Makes merged logs, and remembers which runs cannot be merged. */
class Merger {
  readonly merged: MergedLog[] = []
  readonly #work: Work
  readonly #merge: NonNullable<BackupAdapter['merge']>
  readonly #resolutionMs: number
  readonly #impossible = new Set<string>()

  constructor(work: Work, merge: NonNullable<BackupAdapter['merge']>, resolutionMs: number) {
    this.#work = work
    this.#merge = merge
    this.#resolutionMs = resolutionMs
  }

  /** Merges for about {@link ROUND_MS}. True when there was nothing to do. */
  async mergeSome(
    chains: readonly ChainOfLogs[],
    signal: AbortSignal,
    lock: Pick<Lock, 'assertHeld'>,
  ): Promise<boolean> {
    const startedMs = performance.now()
    let idle = true
    for (const run of chains.flatMap(({ runs }) => runs)) {
      if (this.#impossible.has(keyOf(run))) continue
      throwIfAborted(signal)
      idle = false
      await this.#mergeRun(run, signal, lock)
      if (performance.now() - startedMs > ROUND_MS) break
    }
    return idle
  }

  async #mergeRun(run: FoundRun, signal: AbortSignal, lock: Pick<Lock, 'assertHeld'>): Promise<void> {
    const { plan, warn } = this.#work
    const inputs = run.logs.map(({ id }) => id)
    const sources = plan.destinations.filter(({ name }) => run.holders.has(name))
    for (const source of sources) {
      try {
        const { manifest } = await this.#make(run, source, signal, lock)
        const bytes = (of: 'plain' | 'stored') => manifest.members.reduce((sum, member) => sum + member[of].bytes, 0)
        this.merged.push({
          id: manifest.id,
          inputs,
          thinned: run.thin,
          plainBytes: bytes('plain'),
          storedBytes: bytes('stored'),
        })
        return
      } catch (thrown) {
        throwIfAborted(signal)
        const error = toBackupError(thrown, 'INTERNAL', 'Merging failed')
        if (!isAboutDestination(error)) throw error
        warn(
          `The logs ${inputs[0]} to ${inputs.at(-1)} cannot be merged from ${source.name}: ${error.message}`,
          error.code,
        )
      }
    }
    this.#impossible.add(keyOf(run))
  }

  #make(run: FoundRun, from: Destination, signal: AbortSignal, lock: Pick<Lock, 'assertHeld'>): Promise<MadeBackup> {
    const { plan } = this.#work
    const logs = run.logs.map((manifest) => openBackup(from, manifest, signal))
    return makeBackup(
      this.#work,
      signal,
      lock,
      {
        kind: 'log',
        chain: run.chain,
        startedAt: run.startedAt,
        continues: run.continues,
        without: new Set(plan.destinations.map(({ name }) => name).filter((name) => !run.holders.has(name))),
      },
      (request, ctx) => this.#source(run, logs, request, ctx),
    )
  }

  async *#source(
    run: FoundRun,
    logs: readonly OpenBackup[],
    request: BackupRequest,
    ctx: Parameters<BackupSource>[1],
  ): ReturnType<BackupSource> {
    const resolution = run.thin && { resolutionMs: this.#resolutionMs }
    const facts = yield* this.#merge(logs, { ...request, ...resolution }, ctx)
    const [first, last] = [run.logs[0], run.logs.at(-1)] as [Manifest, Manifest]
    const { comparePositions } = this.#work.plan.adapter
    const { begin, end } = facts.position
    const covers =
      begin !== undefined &&
      comparePositions(begin, first.position.begin as string) === 0 &&
      comparePositions(end, last.position.end) === 0 &&
      facts.consistentAt.toISOString() === last.consistentAt
    // What it was made of will be removed.
    if (!covers) throw new BackupError('CONTRACT_BROKEN', 'The merged log is not about the same time as its logs.')
    const { level, thinnedToMs } = run
    const thinned = run.thin ? this.#resolutionMs : thinnedToMs
    const details = { ...facts.source.details, level, ...(thinned !== undefined && { thinnedToMs: thinned }) }
    return { ...facts, source: { ...facts.source, details } }
  }
}

const keyOf = ({ logs }: FoundRun): string => logs.map(({ id }) => id).join(' ')
