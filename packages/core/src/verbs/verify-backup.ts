import { readCatalog } from '../catalog.ts'
import type { RestoreCheck } from '../contracts/adapter.ts'
import type { Finding, JsonValue, Manifest, VerificationLevel } from '../contracts/backup.ts'
import type { Verifier } from '../contracts/verifier.ts'
import { BackupError, ERROR_CODES, throwIfAborted, toBackupError } from '../errors.ts'
import { memberKey, verificationKey } from '../layout.ts'
import { readManifest } from '../manifest.ts'
import { openBackup } from '../open-backup.ts'
import { checkStored } from '../pipeline/member.ts'
import type { BackupPlan, Destination } from '../plan.ts'
import { planRecovery } from './plan-recovery.ts'
import { discard, stageRecovery } from './restore-backup.ts'
import { runVerb, type VerbOptions, type Work, withLock } from './run.ts'

const LEVELS: readonly VerificationLevel[] = ['stored', 'decoded', 'restored']

export interface VerifyBackupOptions extends VerbOptions {
  /** Default: the newest backup. */
  readonly id?: string
  /**
   * `stored`: every stored byte at every destination against the manifest. `decoded`: also decrypts, decompresses and
   * lets the adapter look at the format. `restored`: also restores into a scratch place and lets the engine check it.
   * Default: `decoded`.
   */
  readonly level?: VerificationLevel
  /** Checks of your own on the restored database, at level `restored` only. Default: none. */
  readonly checks?: readonly RestoreCheck[]
}

/** What a verification found. */
export interface VerificationReport {
  readonly id: string
  readonly level: VerificationLevel
  /** One list per destination that holds the backup. */
  readonly destinations: readonly {
    readonly name: string
    readonly passed: boolean
    readonly findings: readonly Finding[]
  }[]
  readonly durationMs: number
}

/**
 * Verifies one backup, and records the outcome beside it, so that retention never removes the last one that passed.
 *
 * @throws `VERIFICATION_FAILED` with the report in `details` when anything is wrong in any destination;
 * `BACKUP_NOT_FOUND`, `ABORTED`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, verifyBackup } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * const { id } = await createBackup(plan)
 * const report = await verifyBackup(plan, { id, level: 'restored' })
 * console.log(report.destinations[0]?.passed) // true
 * ```
 */
export async function verifyBackup(plan: BackupPlan, options: VerifyBackupOptions = {}): Promise<VerificationReport> {
  const level = options.level ?? 'decoded'
  if (!LEVELS.includes(level))
    throw new BackupError('OPTIONS_INVALID', `Not a level of verification: ${JSON.stringify(level)}.`)
  return runVerb(plan, 'verifyBackup', options, (work) =>
    withLock(work, 'verifyBackup', 'read', async (signal) => {
      const startedAtMs = performance.now()
      const { id, holders } = await findBackup(plan, options.id)
      work.emit({ type: 'started', backupId: id, level })
      const destinations: VerificationReport['destinations'][number][] = []
      for (const destination of holders) {
        const findings = await verifyIn(work, destination, { ...options, id, level }, signal)
        throwIfAborted(signal) // what an abort made fail says nothing about the backup
        const passed = findings.every((finding) => finding.severity !== 'error')
        if (isKnown(findings)) await record(work, destination, { id, level, passed, findings })
        destinations.push({ name: destination.name, passed, findings })
      }
      const report = { id, level, destinations, durationMs: Math.round(performance.now() - startedAtMs) }
      refuseFailed(report)
      return { result: report, completed: { backupId: id } }
    }),
  )
}

async function findBackup(
  plan: BackupPlan,
  wanted: string | undefined,
): Promise<{ id: string; holders: Destination[] }> {
  const { backups } = await readCatalog(plan.name, plan.destinations)
  const entry = wanted === undefined ? backups.at(-1) : backups.find((backup) => backup.id === wanted)
  if (!entry)
    throw new BackupError(
      'BACKUP_NOT_FOUND',
      wanted === undefined
        ? `There is no backup of "${plan.name}" yet.`
        : `There is no backup ${wanted} in any reachable destination.`,
    )
  return { id: entry.id, holders: plan.destinations.filter(({ name }) => entry.destinations.includes(name)) }
}

/** Runs the checks of `level` against one destination's copy. The first level that fails ends it. */
async function verifyIn(
  work: Work,
  destination: Destination,
  { id, level, checks = [] }: VerifyBackupOptions & { readonly id: string },
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = []
  try {
    const manifest = await readManifest(destination.storage, work.plan.name, id, signal)
    findings.push({ check: 'manifest', severity: 'ok', message: 'The manifest is whole.' })
    // Decoding meters the stored bytes as well, and so does restoring: nothing is read twice.
    if (level === 'stored') findings.push(...(await verifyStored(work, destination, manifest, signal)))
    if (level === 'decoded') findings.push(...(await verifyDecoded(work, destination, manifest, signal)))
    if (level === 'restored') findings.push(...(await verifyRestored(work, destination, manifest, checks, signal)))
  } catch (thrown) {
    findings.push(toFinding('backup', thrown))
  }
  return findings
}

async function verifyStored(
  work: Work,
  destination: Destination,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<Finding[]> {
  const total = manifest.members.reduce((sum, member) => sum + member.stored.bytes, 0)
  const tell = work.progress('verifying')
  const findings: Finding[] = []
  let before = 0
  for (const member of manifest.members) {
    try {
      const object = await destination.storage.get(memberKey(manifest.plan, manifest.id, member.file), { signal })
      await checkStored(member, object, (bytes) => tell(before + bytes, total))
      findings.push({ check: 'stored', severity: 'ok', message: `${member.file} is what was stored.` })
    } catch (error) {
      findings.push(toFinding('stored', error))
    }
    before += member.stored.bytes
  }
  return findings
}

async function verifyDecoded(
  work: Work,
  destination: Destination,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { adapter } = work.plan
  if (adapter.engine !== manifest.engine.name) {
    throw new BackupError(
      'ENGINE_MISMATCH',
      `${manifest.id} is of ${manifest.engine.name}, the plan's adapter is for ${adapter.engine}.`,
    )
  }
  const ctx = work.adapterContext('verifying', signal)
  const total = manifest.members.reduce((sum, member) => sum + member.plain.bytes, 0)
  const tell = work.progress('verifying')
  let done = 0
  const backup = openBackup(destination, manifest, signal, (added) => {
    done += added
    tell(done, total)
  })
  const inspectAll: Verifier = async (open) => {
    const findings: Finding[] = []
    const { details } = manifest.source
    for (const member of manifest.members) {
      try {
        const body = await open.open(member.name)
        const toInspect = { name: member.name, body, plainBytes: member.plain.bytes, ...(details && { details }) }
        findings.push(...(await adapter.inspect(toInspect, ctx)))
        // Hashes are compared at the very end of the stream, which an inspection need not reach.
        // Any other error is that of a body that the inspection gave up.
        if (body.errored instanceof BackupError) throw body.errored
        if (!body.readableEnded) for await (const _ of body.destroyed ? await open.open(member.name) : body);
        findings.push({ check: 'decoded', severity: 'ok', message: `${member.name} decodes to what was backed up.` })
      } catch (error) {
        findings.push(toFinding('decoded', error))
      }
    }
    return findings
  }
  const findings: Finding[] = []
  for (const verify of [inspectAll, ...work.plan.verifiers]) findings.push(...(await verify(backup, ctx)))
  return findings
}

async function verifyRestored(
  work: Work,
  destination: Destination,
  manifest: Manifest,
  checks: readonly RestoreCheck[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const asked = { id: manifest.id }
  const recovery = await planRecovery(work.plan, asked)
  if (!recovery.destinations.includes(destination.name)) {
    throw new BackupError(
      'BACKUP_NOT_FOUND',
      `${destination.name} does not hold every backup that ${manifest.id} depends on.`,
    )
  }
  const planned = { ...recovery, destinations: [destination.name] }
  const here = { ...work, plan: { ...work.plan, destinations: [destination] } }
  const { staged, readBytes, ...used } = await stageRecovery(
    here,
    { asked, planned, target: { kind: 'scratch' } },
    signal,
  )
  try {
    const findings: Finding[] = []
    const everythingRead = readBytes === used.recovery.plainBytes && work.plan.verifiers.length === 0
    if (everythingRead) {
      findings.push({ check: 'decoded', severity: 'ok', message: 'Every member decodes to what was backed up.' })
    } else {
      findings.push(...(await verifyDecoded(work, destination, manifest, signal)))
    }
    findings.push(...(await staged.check(work.adapterContext('checking', signal))))
    for (const check of checks) findings.push(...(await check({ location: staged.location })))
    return findings
  } finally {
    await discard(work, staged)
  }
}

/** Errors that say something about the backup. Another one, like a storage that does not answer, says nothing. */
const ABOUT_BACKUP: readonly string[] = ['MANIFEST_DAMAGED', 'MEMBER_DAMAGED', 'OBJECT_MISSING', 'BACKUP_NOT_FOUND']

/** False when the verification could not be made: then there is no outcome to record. */
function isKnown(findings: readonly Finding[]): boolean {
  return !findings.some(
    ({ severity, code = '' }) =>
      severity === 'error' && Object.hasOwn(ERROR_CODES, code) && !ABOUT_BACKUP.includes(code),
  )
}

/** Writes what was found beside the backup; what it contradicts goes. */
async function record(
  { plan, warn }: Work,
  { name, storage }: Destination,
  {
    id,
    level,
    passed,
    findings,
  }: { id: string; level: VerificationLevel; passed: boolean; findings: readonly Finding[] },
): Promise<void> {
  if (storage.capabilities.readOnly) return
  const at = LEVELS.indexOf(level)
  const outdated = passed
    ? LEVELS.slice(0, at + 1).map((other) => verificationKey(plan.name, id, other, 'failed'))
    : LEVELS.slice(at).map((other) => verificationKey(plan.name, id, other, 'passed'))
  const content = { level, passed, verifiedAt: plan.runtime.now().toISOString(), findings }
  try {
    await storage.put(
      verificationKey(plan.name, id, level, passed ? 'passed' : 'failed'),
      Buffer.from(`${JSON.stringify(content, null, 2)}\n`),
    )
    for (const key of outdated) await storage.delete(key)
  } catch (thrown) {
    const error = toBackupError(thrown, 'STORAGE_FAILED', 'Cannot record it')
    warn(`The outcome for ${name} could not be recorded beside the backup: ${error.message}`, error.code)
  }
}

function toFinding(check: string, thrown: unknown): Finding {
  const error = toBackupError(thrown, 'INTERNAL', 'The check failed')
  return { check, severity: 'error', message: error.message, code: error.code }
}

function refuseFailed(report: VerificationReport): void {
  const errors = report.destinations.flatMap(({ name, findings }) =>
    findings.filter((finding) => finding.severity === 'error').map((finding) => `${name}: ${finding.message}`),
  )
  if (errors.length === 0) return
  throw new BackupError(
    'VERIFICATION_FAILED',
    `${report.id} did not pass at level ${report.level}: ${errors.join('; ')}`,
    {
      details: structuredClone(report) as unknown as JsonValue,
    },
  )
}
