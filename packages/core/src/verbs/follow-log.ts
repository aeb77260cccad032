import { BackupError } from '../errors.ts'
import type { BackupPlan } from '../plan.ts'
import type { FollowHealth } from './follow-health.ts'
import type { FollowMergeOptions, MergeLogs } from './follow-merge.ts'
import { FollowSession, type FollowTiming } from './follow-session.ts'
import { checkMergeOptions, mergeLogs } from './merge-logs.ts'
import { runVerb, type VerbOptions } from './run.ts'

export interface FollowLogOptions extends VerbOptions {
  /** How often it is captured what was committed, and stored, in milliseconds; 10 to 3,600,000. Default: 1,000. */
  readonly everyMs?: number
  /** After this long without a commit an empty log says that there was none, in milliseconds. Default: 60,000. */
  readonly idleEveryMs?: number
  /**
   * How logs are merged beside the following; false: they are not. Default: as `mergeLogs` does without options. Logs that
   * will be merged are compressed with zstd level 3 or gzip level 1 at most, the merged ones as the plan says.
   */
  readonly merge?: FollowMergeOptions | false
}

/** A log that is being followed. */
export interface LogFollowing {
  health(): Promise<FollowHealth>
  /**
   * Captures and commits what was committed in the database before the call. Nothing is lost when it rejects: what is
   * captured stays so, and is stored once that is possible.
   *
   * @throws why it could not be stored now: `DESTINATION_FAILED`, `PLAN_LOCKED`, …; `ABORTED` after the end
   */
  flush(): Promise<void>
  /**
   * Flushes once, then ends in any case; leaves no lock, no timer and no process. Rejects when that flush failed: what it
   * did not store is captured by the next log backup, as far as the engine's log still has it.
   */
  stop(): Promise<void>
  /** Settles after the end: rejects with why it could not go on, `ABORTED` after an abort. Need not be listened to. */
  readonly done: Promise<void>
}

/** How following keeps time, and what it is connected to. */
export interface FollowParts extends FollowTiming {
  readonly mergeLogs?: MergeLogs
}

const PARTS: FollowParts = {
  relistMs: 60_000,
  firstRetryMs: 250,
  mostRetryMs: 30_000,
  mostWaitMs: 250,
  mergeEvery: 60,
  mergeLogs,
  nowMs: () => performance.now(),
}

/**
 * Follows the log of the plan's database: what is committed there is in a log backup within about `everyMs`, until
 * `stop`. Resolves once something is captured. Continues the newest chain; without one that it can continue it makes a
 * full first, and so it does later (not with `strictKinds`).
 *
 * Backups, prunes and restores of the plan by others go on as before; after somebody's new full the logs continue that
 * one. A destination that fails, or a source that ends, is tried again with growing pauses, up to 30 seconds; that is told
 * as a warning and in `health`. Only one process can follow a plan's log, and meanwhile nobody else makes log backups of
 * it.
 *
 * `onEvent` is told of each committed log (`logged`), notifiers are not.
 *
 * @throws `OPTIONS_INVALID`, `KIND_UNSUPPORTED`, `PLAN_LOCKED`, `BASE_MISSING` (with `strictKinds`), and what a backup
 * throws that cannot be made
 *
 * @example
 * ```ts
 * import { defineBackupPlan, followLog, memory, restoreBackup } from '@taskflow-backup/core'
 * import { ledger } from '@taskflow-backup/testing'
 *
 * const source = ledger()
 * const plan = defineBackupPlan({ name: 'books', adapter: source.adapter, destinations: [memory()] })
 * const following = await followLog(plan, { everyMs: 100 })
 * source.append('first')
 * await following.stop()
 * await restoreBackup(plan, { to: 'copy' })
 * console.log(source.entries('copy')?.length) // 1
 * ```
 */
export function followLog(plan: BackupPlan, options: FollowLogOptions = {}): Promise<LogFollowing> {
  return followWith(plan, options, PARTS)
}

/** {@link followLog} with other parts, for tests. */
export async function followWith(
  plan: BackupPlan,
  options: FollowLogOptions,
  parts: FollowParts,
): Promise<LogFollowing> {
  const { everyMs = 1_000, idleEveryMs = 60_000, merge = {}, onEvent } = options
  checkMs('everyMs', everyMs, 10)
  checkMs('idleEveryMs', idleEveryMs, everyMs)
  if (merge) checkMergeOptions(plan, merge)
  const mergeAll = plan.adapter.merge ? parts.mergeLogs : undefined
  let done: Promise<void> | undefined
  const session = await new Promise<FollowSession>((resolve, reject) => {
    done = runVerb(plan, 'followLog', options, async (work) => {
      checkPlan(plan)
      // Each merge is a verb of its own: only its failures are worth a message to somebody.
      const mergeOne =
        mergeAll && merge && ((signal: AbortSignal) => mergeAll({ ...plan, notifiers: [] }, { ...merge, signal }))
      const settings = { everyMs, idleEveryMs, ...(onEvent && { onEvent }), ...(mergeOne && { merge: mergeOne }) }
      const running = new FollowSession(work, settings, parts)
      await running.run(() => {
        work.emit({ type: 'started' })
        resolve(running)
      })
      return { result: undefined }
    })
    done.catch(reject) // after the begin nobody needs to listen: it is told as an event as well
  })
  const ended = done as unknown as Promise<void>
  const stop = async (): Promise<void> => {
    try {
      await session.stop()
    } finally {
      await ended.catch(() => {}) // its last events are told by then
    }
  }
  let stopping: Promise<void> | undefined
  return {
    health: () => session.health(),
    flush: () => session.flush(),
    stop: () => {
      stopping ??= stop()
      return stopping
    },
    done: ended,
  }
}

function checkPlan({ adapter, destinations }: BackupPlan): void {
  if (!adapter.follow || !adapter.kinds.includes('log'))
    throw new BackupError('KIND_UNSUPPORTED', `The ${adapter.engine} adapter follows no log.`)
  const closed = destinations.find(({ required, storage }) => required && storage.capabilities.readOnly)
  if (closed) throw new BackupError('STORAGE_READ_ONLY', `Destination ${closed.name} is required and can only be read.`)
}

function checkMs(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least && value <= 3_600_000) return
  const range = `a whole number of milliseconds from ${least} to 3,600,000`
  throw new BackupError('OPTIONS_INVALID', `${name} must be ${range}.`)
}
