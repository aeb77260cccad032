import { type DestinationListing, listDestination } from '../catalog.ts'
import type { JsonValue } from '../contracts/backup.ts'
import type { Decision } from '../contracts/policy.ts'
import type { ObjectInfo, Storage } from '../contracts/storage.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { meaningOf } from '../layout.ts'
import type { Lock } from '../lock.ts'
import type { BackupPlan, Destination } from '../plan.ts'
import { decideRetention } from '../retention/decide.ts'
import { type Forget, forgetLast } from './forget-backup.ts'
import { removeBackups } from './remove-backups.ts'
import { runVerb, type VerbOptions, withLock } from './run.ts'

/** A half-written object outside of backups may belong to a reader that renews its lock right now. */
const PARTIAL_GRACE_MS = 60_000

export interface PruneBackupsOptions extends VerbOptions {
  /** Only say what would be removed. Default: false. */
  readonly dryRun?: boolean
}

/** What a prune did, or would do, in one destination. */
export interface DestinationPrune {
  readonly name: string
  /** One for every backup, oldest first. {@link explainRetention} makes text of them. */
  readonly decisions: readonly Decision[]
  /** Ids of the backups that were removed, or would be. */
  readonly removed: readonly string[]
  /** Keys of left-overs of killed processes that were removed, or would be. */
  readonly leftovers: readonly string[]
  readonly freedBytes: number
}

export interface PruneResult {
  readonly dryRun: boolean
  readonly destinations: readonly DestinationPrune[]
  /** What killed restores left beside the live database, removed now. Empty in a dry run. */
  readonly restoreLeftovers: readonly string[]
}

/**
 * Removes the backups that the plan's retention policy lets go, and what killed processes left behind.
 *
 * Each destination is decided by what it holds itself, so the newest backup, the newest verified one and those on hold
 * stay in every one of them. Within a chain the manifests go first, dependants before what they depend on: whatever stops a prune, what
 * is listed afterwards is whole.
 *
 * @throws `POLICY_KEEPS_NOTHING` (before anything is removed), `PLAN_LOCKED`, `DESTINATION_FAILED` (after the other
 * destinations were pruned), `ABORTED`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, explainRetention, memory, pruneBackups } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * await createBackup(plan)
 * const { destinations } = await pruneBackups(plan, { dryRun: true })
 * console.log(destinations[0]?.removed.length) // 0
 * ```
 */
export async function pruneBackups(plan: BackupPlan, options: PruneBackupsOptions = {}): Promise<PruneResult> {
  return runVerb(plan, 'pruneBackups', options, async (work) => {
    work.emit({ type: 'started' })
    if (options.dryRun) {
      const { outcomes, failures } = await decideEverywhere(plan)
      refuseFailures(failures)
      return { result: { dryRun: true, destinations: outcomes.map(({ told }) => told), restoreLeftovers: [] } }
    }
    const result = await withLock(work, 'pruneBackups', 'exclusive', async (signal, lock) => {
      const { outcomes, failures } = await decideEverywhere(plan)
      const forget = await forgetLast(plan, work.adapterContext('pruning', signal))
      for (const outcome of outcomes) {
        try {
          await remove(plan, outcome, signal, lock, forget)
        } catch (thrown) {
          throwIfAborted(signal)
          const error = toBackupError(thrown, 'STORAGE_FAILED', `Cannot remove from ${outcome.told.name}`)
          failures.push({ name: outcome.told.name, error })
        }
      }
      const restoreLeftovers = await plan.adapter.removeLeftovers(work.adapterContext('pruning', signal))
      refuseFailures(failures)
      return { dryRun: false, destinations: outcomes.map(({ told }) => told), restoreLeftovers }
    })
    return { result }
  })
}

/** What is to go from one destination. */
interface Outcome {
  readonly told: DestinationPrune
  readonly storage: Storage
  readonly listing: DestinationListing
  readonly leftovers: readonly ObjectInfo[]
}

interface DestinationFailure {
  readonly name: string
  readonly error: BackupError
}

/** Asks the policy about each destination's own backups. One that cannot be listed does not keep the others from it. */
async function decideEverywhere(plan: BackupPlan): Promise<{ outcomes: Outcome[]; failures: DestinationFailure[] }> {
  const now = plan.runtime.now()
  const outcomes: Outcome[] = []
  const failures: DestinationFailure[] = []
  for (const destination of plan.destinations) {
    if (destination.storage.capabilities.readOnly) continue
    let listing: DestinationListing
    try {
      listing = await listDestination(plan.name, destination)
    } catch (thrown) {
      const error = toBackupError(thrown, 'STORAGE_FAILED', `Cannot list ${destination.name}`)
      failures.push({ name: destination.name, error })
      continue
    }
    const decisions = decideRetention(plan.retention, listing.backups, now)
    outcomes.push(outcomeOf(plan, destination, listing, decisions, now))
  }
  return { outcomes, failures }
}

function outcomeOf(
  plan: BackupPlan,
  { name, storage }: Destination,
  listing: DestinationListing,
  decisions: readonly Decision[],
  now: Date,
): Outcome {
  const going = new Set(decisions.filter((decision) => !decision.keep).map((decision) => decision.id))
  const removed = listing.backups.filter((backup) => going.has(backup.id))
  const leftovers = listing.leftovers.filter(({ key, modifiedAt }) => {
    const meaning = meaningOf(plan.name, key)
    return 'backup' in meaning && meaning.backup ? true : now.getTime() - modifiedAt.getTime() > PARTIAL_GRACE_MS
  })
  const freedBytes =
    removed.reduce((sum, backup) => sum + backup.storedBytes, 0) +
    leftovers.reduce((sum, object) => sum + object.sizeBytes, 0)
  const told = {
    name,
    decisions,
    removed: removed.map((backup) => backup.id),
    leftovers: leftovers.map((object) => object.key),
    freedBytes,
  }
  return { told, storage, listing, leftovers }
}

async function remove(
  plan: BackupPlan,
  { told, storage, listing, leftovers }: Outcome,
  signal: AbortSignal,
  lock: Pick<Lock, 'assertHeld'>,
  forget: Forget,
): Promise<void> {
  const removed = new Set(told.removed)
  const going = listing.backups.filter(({ id }) => removed.has(id))
  await lock.assertHeld()
  await removeBackups({ plan: plan.name, name: told.name, storage, keys: listing.keys }, going, forget, signal)
  for (const { key } of leftovers) {
    throwIfAborted(signal)
    await storage.delete(key)
  }
}

function refuseFailures(failures: readonly DestinationFailure[]): void {
  const [first] = failures
  if (!first) return
  const names = failures.map(({ name }) => name).join(', ')
  throw new BackupError('DESTINATION_FAILED', `Pruning failed in ${names}: ${first.error.message}`, {
    cause: first.error,
    retryable: first.error.retryable,
    hint: first.error.hint,
    details: failures.map(
      ({ name, error }): JsonValue => ({ destination: name, code: error.code, message: error.message }),
    ),
  })
}
