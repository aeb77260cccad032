import type { RestoreCheck, RestoreTarget, StagedRestore, UndoRecord } from '../contracts/adapter.ts'
import type { Finding, JsonValue } from '../contracts/backup.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { openBackup } from '../open-backup.ts'
import type { BackupPlan, Destination } from '../plan.ts'
import { planRecovery, type RecoveryPlan, type RecoveryTarget, withoutDifferential } from './plan-recovery.ts'
import { runVerb, type VerbOptions, type Work, withLock } from './run.ts'

export interface RestoreBackupOptions extends RecoveryTarget, VerbOptions {
  /** A place of its own, in the adapter's terms (SQLite: a file). Default: over the live database. */
  readonly to?: JsonValue
  /** Replace what is at `to`; it is kept for undo. Default: false. */
  readonly overwrite?: boolean
  /** Replace the database although it is open somewhere: what is written through those connections is lost. Default: false. */
  readonly evenIfInUse?: boolean
  /** Checks of your own, after the engine's; a finding of severity `error` stops the restore. Default: none. */
  readonly checks?: readonly RestoreCheck[]
}

export interface RestoreResult {
  readonly recovery: RecoveryPlan
  /** Destination that was read. */
  readonly destination: string
  readonly findings: readonly Finding[]
  /** Give it to {@link undoRestore} to take the restore back. Plain data: keep it where you like. */
  readonly undo: UndoRecord
  readonly durationMs: number
}

/**
 * Restores a backup: builds the database in a new place, checks it there, and only then puts it in the place of the
 * live one, which is kept.
 *
 * Reads from the first destination that holds everything whole; when one turns out damaged, from the next.
 *
 * @throws `BACKUP_NOT_FOUND`, `POINT_UNREACHABLE`, `MEMBER_DAMAGED` (in every destination), `RESTORE_CHECK_FAILED`,
 * `TARGET_EXISTS`, `TARGET_INVALID`, `DATABASE_IN_USE`, `ENGINE_MISMATCH`, `ABORTED`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, restoreBackup } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * await createBackup(plan)
 * const restored = await restoreBackup(plan, { to: 'copy.db' })
 * console.log(restored.findings.every((finding) => finding.severity === 'ok')) // true
 * ```
 */
export async function restoreBackup(plan: BackupPlan, options: RestoreBackupOptions = {}): Promise<RestoreResult> {
  const { id, at, to, overwrite = false, evenIfInUse = false, checks = [] } = options
  if (to === undefined && overwrite) {
    throw new BackupError(
      'OPTIONS_INVALID',
      '`overwrite` goes with `to`; without `to` the live database is replaced anyway.',
    )
  }
  const target: RestoreTarget = to === undefined ? { kind: 'live' } : { kind: 'place', to, overwrite }
  return runVerb(plan, 'restoreBackup', options, (work) =>
    withLock(work, 'restoreBackup', 'read', async (signal) => {
      const startedAtMs = performance.now()
      const asked = {
        ...(id !== undefined && { id }),
        ...(at && { at }),
        ...(to !== undefined && { to }),
      }
      const planned = await planRecovery(plan, asked)
      for (const warning of planned.warnings) work.warn(warning)
      const last = planned.backups.at(-1)
      work.emit({ type: 'started', ...(last && { backupId: last.id, kind: last.kind }) })
      const staging = { asked, planned, target, evenIfInUse }
      const { recovery, staged, destination } = await stageRecovery(work, staging, signal)
      try {
        const ctx = work.adapterContext('checking', signal)
        const findings = [...(await staged.check(ctx))]
        for (const check of checks) findings.push(...(await check({ location: staged.location })))
        refuseErrors(findings)
        throwIfAborted(signal)
        const undo = await staged.promote(work.adapterContext('promoting', signal))
        const durationMs = Math.round(performance.now() - startedAtMs)
        const result = { recovery, destination, findings, undo, durationMs }
        return {
          result,
          completed: { plainBytes: recovery.plainBytes, ...(last && { backupId: last.id, kind: last.kind }) },
        }
      } finally {
        await discard(work, staged)
      }
    }),
  )
}

/**
 * Takes a restore back: what was live before is live again. What was restored is kept in its turn, and the record that
 * is returned brings it back.
 *
 * @throws `UNDO_IMPOSSIBLE`, `DATABASE_IN_USE`, `ENGINE_MISMATCH`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, restoreBackup, undoRestore } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * await createBackup(plan)
 * const { undo } = await restoreBackup(plan)
 * await undoRestore(plan, undo)
 * ```
 */
export async function undoRestore(
  plan: BackupPlan,
  record: UndoRecord,
  options: VerbOptions = {},
): Promise<UndoRecord> {
  return runVerb(plan, 'undoRestore', options, async (work) => {
    if (record.engine !== plan.adapter.engine) {
      throw new BackupError(
        'ENGINE_MISMATCH',
        `The record is of ${record.engine}, the plan's adapter is for ${plan.adapter.engine}.`,
      )
    }
    // A prune beside it would take what is kept for a left-over.
    return withLock(work, 'undoRestore', 'read', async (signal) => {
      work.emit({ type: 'started' })
      return { result: await plan.adapter.undo(record, work.adapterContext('promoting', signal)) }
    })
  })
}

/** What is staged, and where. */
interface Staging {
  readonly asked: RecoveryTarget
  /** What {@link planRecovery} made of it. */
  readonly planned: RecoveryPlan
  readonly target: RestoreTarget
  readonly evenIfInUse?: boolean
}

interface Staged {
  /** What was used in the end. */
  readonly recovery: RecoveryPlan
  readonly staged: StagedRestore
  readonly destination: string
  readonly readBytes: number
}

/**
 * Builds the restored database beside the target, from the first destination whose bytes are whole. Only the adapter can
 * see that a differential leads past what is wanted: then by logs alone, which lead to all that it holds.
 */
export async function stageRecovery(work: Work, staging: Staging, signal: AbortSignal): Promise<Staged> {
  try {
    return await stageAs(work, staging, staging.planned, signal)
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'POINT_UNREACHABLE') throw error
    const other = await withoutDifferential(work.plan, staging.asked, staging.planned).catch(() => undefined)
    if (!other) throw error
    return stageAs(work, staging, other, signal)
  }
}

async function stageAs(
  work: Work,
  { target, evenIfInUse = false }: Staging,
  recovery: RecoveryPlan,
  signal: AbortSignal,
): Promise<Staged> {
  const { plan, warn } = work
  const foreign = recovery.backups.find((manifest) => manifest.engine.name !== plan.adapter.engine)
  if (foreign) {
    throw new BackupError(
      'ENGINE_MISMATCH',
      `${foreign.id} is of ${foreign.engine.name}, the plan's adapter is for ${plan.adapter.engine}.`,
    )
  }
  let first: BackupError | undefined
  for (const name of recovery.destinations) {
    const destination = plan.destinations.find((candidate) => candidate.name === name) as Destination
    const tell = work.progress('restoring')
    let bytes = 0
    const onBytes = (added: number): void => {
      bytes += added
      tell(bytes, recovery.plainBytes)
    }
    try {
      const request = {
        backups: recovery.backups.map((manifest) => openBackup(destination, manifest, signal, onBytes)),
        target,
        ...(recovery.stopAt && { at: recovery.stopAt }),
        evenIfInUse,
      }
      const staged = await plan.adapter.restore(request, work.adapterContext('staging', signal))
      return { recovery, staged, destination: name, readBytes: bytes }
    } catch (thrown) {
      throwIfAborted(signal)
      const error = toBackupError(thrown, 'INTERNAL', `Restoring from ${name} failed`)
      if (!isAboutDestination(error)) throw error
      warn(`Destination ${name} cannot be restored from: ${error.message}`, error.code)
      first ??= error
    }
  }
  throw first
}

/** Removes what was staged; what cannot be removed hides neither a result nor a failure. */
export async function discard({ warn }: Work, staged: StagedRestore): Promise<void> {
  try {
    await staged.discard()
  } catch (thrown) {
    const error = toBackupError(thrown, 'INTERNAL', `Could not remove ${staged.location}`)
    warn(error.message, error.code)
  }
}

/** Failures that another destination may not have. */
export function isAboutDestination({ code }: BackupError): boolean {
  return code === 'MEMBER_DAMAGED' || code === 'OBJECT_MISSING' || code.startsWith('STORAGE_')
}

function refuseErrors(findings: readonly Finding[]): void {
  const errors = findings.filter((finding) => finding.severity === 'error')
  if (errors.length === 0) return
  const summary = errors.map((finding) => `${finding.check}: ${finding.message}`).join('; ')
  throw new BackupError('RESTORE_CHECK_FAILED', `The restored database did not pass: ${summary}`, {
    details: errors.map((finding) => ({ ...finding })),
  })
}
