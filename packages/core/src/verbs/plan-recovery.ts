import { readCatalog } from '../catalog.ts'
import type { CatalogEntry, Manifest } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import { parseBackupId } from '../layout.ts'
import { ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'

/** What to recover. */
export interface RecoveryTarget {
  /** Id of a backup; the state at its end. Not together with `at`. */
  readonly id?: string
  /** The moment to recover to; the newest state without it. */
  readonly at?: Date
}

/** The ordered backups that a restore will use, and what it will reach. Plain data. */
export interface RecoveryPlan {
  /** In the order of their use: a full, perhaps a differential, logs. */
  readonly backups: readonly Manifest[]
  /** Destinations that hold all of them, in the plan's order. */
  readonly destinations: readonly string[]
  /** The moment whose state will be restored. */
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
 * moment: to the transaction where the engine's log backups allow it, else the last backup before.
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
  const { backups, unreachable } = await readCatalog(plan.name, plan.destinations)
  const warnings = unreachable.map(
    ({ destination, message }) => `Destination ${destination} cannot be read: ${message}`,
  )
  const manifests = new ManifestReader(plan, (message) => warnings.push(message))
  const chosen =
    target.id === undefined
      ? await chooseByTime(plan, backups, target.at, manifests)
      : await chooseById(plan, backups, target.id, manifests)
  const entries = chosen.map((manifest) => backups.find((backup) => backup.id === manifest.id) as CatalogEntry)
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
  const lastAt = new Date(last.consistentAt)
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

async function chooseById(
  plan: BackupPlan,
  backups: readonly CatalogEntry[],
  id: string,
  manifests: ManifestReader,
): Promise<Manifest[]> {
  const wanted = backups.find((backup) => backup.id === id)
  if (!wanted) throw new BackupError('BACKUP_NOT_FOUND', `There is no backup ${id} in any reachable destination.`)
  const chain = backups.filter((backup) => backup.chain === wanted.chain)
  const full = chain.find((backup) => backup.kind === 'full')
  if (!full) throw new BackupError('BACKUP_NOT_FOUND', `The full backup that ${id} depends on is gone.`)
  if (wanted.kind === 'full') return [await manifests.read(wanted)]
  if (wanted.kind === 'differential') return [await manifests.read(full), await manifests.read(wanted)]
  const path = await walkChain(plan, chain.slice(1, chain.indexOf(wanted) + 1), full, undefined, manifests)
  const last = path.at(-1) as Manifest
  // A log that holds nothing new is left out of the path, which then ends at the same position.
  const { position } = await manifests.read(wanted)
  if (plan.adapter.comparePositions(last.position.end, position.end) !== 0) {
    throw new BackupError('POINT_UNREACHABLE', `The log backups up to ${id} have a gap after ${last.id}.`)
  }
  return path
}

async function chooseByTime(
  plan: BackupPlan,
  backups: readonly CatalogEntry[],
  at: Date | undefined,
  manifests: ManifestReader,
): Promise<Manifest[]> {
  if (backups.length === 0) throw new BackupError('BACKUP_NOT_FOUND', `There is no backup of "${plan.name}" yet.`)
  // A backup is consistent at a moment after its start, so those that started later are out at once.
  for (const full of backups.filter((backup) => backup.kind === 'full' && (!at || backup.startedAt <= at)).reverse()) {
    const manifest = await manifests.read(full)
    if (at && new Date(manifest.consistentAt) > at) continue
    const after = backups.slice(backups.indexOf(full) + 1)
    return walkChain(plan, after, full, at, manifests)
  }
  const first = backups.find((backup) => backup.kind === 'full')
  const reach = first ? `the first full backup is from ${first.startedAt.toISOString()}` : 'there is no full backup'
  throw new BackupError('POINT_UNREACHABLE', `Nothing reaches back to ${at?.toISOString() ?? 'any moment'}: ${reach}.`)
}

/** From a full as far towards `at` (or the end of `after`) as differentials and gapless logs lead. */
async function walkChain(
  plan: BackupPlan,
  after: readonly CatalogEntry[],
  full: CatalogEntry,
  at: Date | undefined,
  manifests: ManifestReader,
): Promise<Manifest[]> {
  const { adapter } = plan
  const path = [await manifests.read(full)]
  const inTime = (manifest: Manifest): boolean => !at || new Date(manifest.consistentAt) <= at
  const own = after.filter(({ chain }) => chain === full.chain)
  for (const entry of own.filter((backup) => backup.kind === 'differential').reverse()) {
    const differential = await manifests.read(entry)
    if (!inTime(differential)) continue
    path.push(differential)
    break
  }
  for (const entry of (adapter.follows && at ? after : own).filter((backup) => backup.kind === 'log')) {
    const anchor = path.at(-1) as Manifest
    const log = await manifests.read(entry)
    const foreign = entry.chain !== full.chain
    if (foreign && !adapter.follows?.(log, anchor)) break
    if (adapter.comparePositions(log.position.end, anchor.position.end) <= 0) continue
    const begin = log.position.begin
    if (begin === undefined || adapter.comparePositions(begin, anchor.position.end) > 0) break
    if (!inTime(log) && !adapter.pointInTime) break
    path.push(log)
    if (!inTime(log)) break
  }
  return path
}
