import { readCatalog } from '../catalog.ts'
import type { CatalogEntry, JsonValue, Manifest } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import { parseBackupId } from '../layout.ts'
import { ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'
import { pathToBackup, pathToMoment } from './recovery-path.ts'

/** What to recover. */
export interface RecoveryTarget {
  /** Id of a backup; the state at its end. Not together with `at`. */
  readonly id?: string
  /** The moment to recover to; the newest state without it. */
  readonly at?: Date
  /** Where {@link restoreBackup} is to restore to: it may say where to stop, as SQLite's `stopAtCommit` does. */
  readonly to?: JsonValue
}

/** The ordered backups that a restore will use, and what it will reach. Plain data. */
export interface RecoveryPlan {
  /** In the order of their use: a full, perhaps a differential, logs. */
  readonly backups: readonly Manifest[]
  /** Destinations that hold all of them, in the plan's order. */
  readonly destinations: readonly string[]
  /**
   * The moment whose state will be restored. Where the engine's logs hold captured moments, not every one, it is the
   * last of them before this, at most the log's `resolutionMs` earlier. Where `to` says where to stop, it is not later
   * than this.
   */
  readonly reachedAt: Date
  /** Set when a moment was asked for and the last backup is a log: nothing after it is restored. */
  readonly stopAt?: Date
  /** How much is lost: from `reachedAt` to the moment asked for, or to now. Milliseconds. */
  readonly lossMs: number
  readonly plainBytes: number
  readonly storedBytes: number
  /** What a person should know before going on. */
  readonly warnings: readonly string[]
}

/**
 * Works out which backups a restore would use, without touching anything.
 *
 * Without `id` and `at` it is the newest reachable state. With `at` it is the newest state that is not after that
 * moment: to the transaction where the engine's log backups allow it, to the last moment that was captured where they
 * hold such, else the last backup before.
 *
 * `restoreBackup` and `verifyBackup` use the same. Only where an adapter then finds that a differential leads past what is
 * wanted they use logs instead of it, where these lead as far; `recovery` in the result of a restore tells it.
 *
 * @throws `BACKUP_NOT_FOUND`, `POINT_UNREACHABLE`, `MANIFEST_DAMAGED`, `OPTIONS_INVALID`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, planRecovery } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * await createBackup(plan)
 * const recovery = await planRecovery(plan)
 * console.log(recovery.backups.map((backup) => backup.kind), recovery.lossMs < 60_000) // [ 'full' ] true
 * ```
 */
export async function planRecovery(plan: BackupPlan, target: RecoveryTarget = {}): Promise<RecoveryPlan> {
  checkTarget(target)
  return recoveryTo(plan, target, () => true)
}

/**
 * The same with logs instead of its differential. `undefined` when there is none in it, or when they do not lead as far.
 */
export async function withoutDifferential(
  plan: BackupPlan,
  target: RecoveryTarget,
  { backups }: RecoveryPlan,
): Promise<RecoveryPlan | undefined> {
  const differential = backups.find(({ kind }) => kind === 'differential')
  if (!differential || differential.id === target.id) return undefined
  const other = await recoveryTo(plan, target, ({ kind }) => kind !== 'differential')
  const last = other.backups.at(-1) as Manifest
  return last.kind === 'log' && last.consistentAt >= differential.consistentAt ? other : undefined
}

async function recoveryTo(
  plan: BackupPlan,
  target: RecoveryTarget,
  isUsable: (entry: CatalogEntry) => boolean,
): Promise<RecoveryPlan> {
  const { backups: all, unreachable } = await readCatalog(plan.name, plan.destinations)
  const backups = all.filter(isUsable)
  const warnings = unreachable.map(
    ({ destination, message }) => `Destination ${destination} cannot be read: ${message}`,
  )
  const manifests = new ManifestReader(plan, (message) => warnings.push(message))
  const { to } = target
  const stopIn = (full: Manifest): string | undefined =>
    to === undefined ? undefined : plan.adapter.stopPosition?.(to, full)
  const { path: chosen, reachedAt: lastAt } =
    target.id === undefined
      ? await pathToMoment(plan, backups, { ...target, stopIn }, manifests)
      : await pathToBackup(plan, backups, { id: target.id, stopIn }, manifests)
  const byId = new Map(backups.map((entry) => [entry.id, entry]))
  const entries = chosen.map(({ id }) => byId.get(id) as CatalogEntry)
  for (const entry of entries) {
    if (entry.failedVerification) warnings.push(`${entry.id} failed its last verification.`)
  }
  const destinations = plan.destinations
    .map(({ name }) => name)
    .filter((name) => entries.every((entry) => entry.destinations.includes(name)))
  if (destinations.length === 0) {
    throw new BackupError('BACKUP_NOT_FOUND', 'No single destination holds every backup that this recovery needs.')
  }
  const last = chosen.at(-1) as Manifest
  // Also when the log ends before it: a log may hold what was committed just after the moment that it names as its end.
  const stopAt = last.kind === 'log' && plan.adapter.pointInTime ? target.at : undefined
  const reachedAt = stopAt && stopAt < lastAt ? stopAt : lastAt
  const members = chosen.flatMap((manifest) => manifest.members)
  return {
    backups: chosen,
    destinations,
    reachedAt,
    ...(stopAt && { stopAt }),
    lossMs: Math.max(0, (target.at ?? plan.runtime.now()).getTime() - reachedAt.getTime()),
    plainBytes: members.reduce((sum, member) => sum + member.plain.bytes, 0),
    storedBytes: members.reduce((sum, member) => sum + member.stored.bytes, 0),
    warnings,
  }
}

function checkTarget({ id, at }: RecoveryTarget): void {
  if (id !== undefined && at !== undefined) throw new BackupError('OPTIONS_INVALID', 'Give `id` or `at`, not both.')
  if (id !== undefined && !parseBackupId(id))
    throw new BackupError('OPTIONS_INVALID', `Not the id of a backup: ${JSON.stringify(id)}.`)
  if (at !== undefined && !(at instanceof Date && !Number.isNaN(at.getTime()))) {
    throw new BackupError('OPTIONS_INVALID', '`at` must be a valid Date.')
  }
}
