import type { BackupKind, Manifest } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import type { BackupPlan } from '../plan.ts'
import type { DestinationOutcome } from './backup-writer.ts'
import { findBase, upgrade } from './find-base.ts'
import { type MadeBackup, makeBackup } from './make-backup.ts'
import { type HeldLock, runVerb, type VerbOptions, withLock } from './run.ts'

export interface CreateBackupOptions extends VerbOptions {
  /** Default: `full`. */
  readonly kind?: BackupKind
}

/** A committed backup. */
export interface BackupResult {
  readonly id: string
  /** May be another kind than was asked for; `manifest.requested` then tells why. */
  readonly kind: BackupKind
  readonly manifest: Manifest
  /** Bytes of all members before and after the codecs. */
  readonly plainBytes: number
  readonly storedBytes: number
  readonly durationMs: number
  /** `error` is set for a destination with `required: false` that does not hold this backup. */
  readonly destinations: readonly DestinationOutcome[]
}

/**
 * Makes one backup and stores it in every destination of the plan at the same time.
 *
 * It exists once its manifest is stored, which happens last. When anything fails before that in a required
 * destination, everything stored so far is removed again.
 *
 * @throws `KIND_UNSUPPORTED`, `BASE_MISSING` (with `strictKinds`), `PLAN_LOCKED` (of a log also while it is followed), `DESTINATION_FAILED`, `ABORTED`, and
 * the codes of the adapter (`SOURCE_MISSING`, `SOURCE_BUSY`, …)
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * const backup = await createBackup(plan)
 * console.log(backup.kind, backup.storedBytes < backup.plainBytes) // full true
 * ```
 */
export async function createBackup(plan: BackupPlan, options: CreateBackupOptions = {}): Promise<BackupResult> {
  const kind = options.kind ?? 'full'
  return runVerb(plan, 'createBackup', options, async (work) => {
    if (!plan.adapter.kinds.includes(kind)) {
      const known = plan.adapter.kinds.join(', ')
      throw new BackupError('KIND_UNSUPPORTED', `The ${plan.adapter.engine} adapter makes ${known}, not ${kind}.`)
    }
    const closed = plan.destinations.find(({ required, storage }) => required && storage.capabilities.readOnly)
    if (closed)
      throw new BackupError('STORAGE_READ_ONLY', `Destination ${closed.name} is required and can only be read.`)
    const startedAtMs = performance.now()
    // Asked before anything is written anywhere: is the source there, and may we read it?
    await plan.adapter.describe(work.adapterContext('looking'))
    const make = (outer: AbortSignal, beside?: string): Promise<MadeBackup> =>
      withLock({ ...work, signal: outer }, 'createBackup', 'write', (signal, lock) => makeLocked(signal, lock), beside)
    const makeLocked = async (signal: AbortSignal, lock: HeldLock): Promise<MadeBackup> => {
      const start = kind === 'full' ? { kind } : await findBase(work, kind, signal)
      try {
        return await makeBackup(work, signal, lock, start)
      } catch (error) {
        if (!(error instanceof BackupError) || error.code !== 'BASE_UNUSABLE' || plan.strictKinds) throw error
        return await makeBackup(work, signal, lock, upgrade(kind, error.message))
      }
    }
    // A log that is being followed has one writer: a second one would continue the same backup.
    const made =
      kind === 'log' && plan.adapter.follow
        ? await withLock(work, 'createBackup', 'follow', (signal, { key }) => make(signal, key))
        : await make(work.signal)
    const { manifest, destinations } = made
    const result: BackupResult = {
      id: manifest.id,
      kind: manifest.kind,
      manifest,
      plainBytes: sum(manifest.members.map((member) => member.plain.bytes)),
      storedBytes: sum(manifest.members.map((member) => member.stored.bytes)),
      durationMs: Math.round(performance.now() - startedAtMs),
      destinations,
    }
    const { plainBytes, storedBytes } = result
    return { result, completed: { backupId: manifest.id, kind: manifest.kind, plainBytes, storedBytes } }
  })
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)
