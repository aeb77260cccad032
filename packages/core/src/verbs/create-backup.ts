import { readCatalog } from '../catalog.ts'
import type { BackupFacts, BackupRequest, Member, OpenBackup } from '../contracts/adapter.ts'
import type { BackupKind, CatalogEntry, Manifest, ManifestMember } from '../contracts/backup.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { GENERATOR } from '../generator.ts'
import { fileStem, newBackupId, newChainName } from '../layout.ts'
import type { Lock } from '../lock.ts'
import { serializeManifest } from '../manifest.ts'
import { ManifestReader } from '../manifest-reader.ts'
import { openBackup } from '../open-backup.ts'
import { inOrder } from '../pipeline/in-order.ts'
import type { BackupPlan, Destination } from '../plan.ts'
import { BackupWriter, type DestinationOutcome } from './backup-writer.ts'
import { pathOfLogs } from './log-path.ts'
import { runVerb, type VerbOptions, type Work, withLock } from './run.ts'

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
 * @throws `KIND_UNSUPPORTED`, `BASE_MISSING` (with `strictKinds`), `PLAN_LOCKED`, `DESTINATION_FAILED`, `ABORTED`, and
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
    const made = await withLock(work, 'createBackup', 'write', async (signal, lock) => {
      const start = kind === 'full' ? { kind } : await findBase(work, kind, signal)
      try {
        return await makeBackup(work, signal, lock, start)
      } catch (error) {
        if (!(error instanceof BackupError) || error.code !== 'BASE_UNUSABLE' || plan.strictKinds) throw error
        return await makeBackup(work, signal, lock, upgrade(kind, error.message))
      }
    })
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

/** Which backup is to be made, and what it continues. */
interface Start {
  readonly kind: BackupKind
  readonly requested?: { readonly kind: BackupKind; readonly reason: string }
  readonly chain?: string
  readonly base?: NonNullable<BackupRequest['base']>
  /** Start of the chain's newest backup: this one's is later, whatever the clock says, so that their ids stay in order. */
  readonly after?: Date
  /** Optional destinations that do not hold the chain. */
  readonly without?: ReadonlySet<string>
}

const upgrade = (kind: BackupKind, reason: string): Start => ({ kind: 'full', requested: { kind, reason } })

/** Finds the newest chain and what a backup of `kind` continues there, or says why a full has to be made instead. */
async function findBase({ plan, warn }: Work, kind: BackupKind, signal: AbortSignal): Promise<Start> {
  const orFull = (reason: string): Start => {
    if (plan.strictKinds) throw new BackupError('BASE_MISSING', reason)
    return upgrade(kind, reason)
  }
  const { backups } = await readCatalog(plan.name, plan.destinations)
  const full = backups.findLast((backup) => backup.kind === 'full')
  if (!full) return orFull('There is no full backup yet.')
  const chain = backups.filter((backup) => backup.chain === full.chain)
  // A differential is always against the full; a log goes on where the last log, or the full, ended.
  const previous = kind === 'log' ? (chain.findLast((backup) => backup.kind === 'log') ?? full) : full
  const needed = kind === 'log' ? chain.filter((backup) => backup.kind !== 'differential') : [full]
  const lacks = (name: string): boolean => needed.some((backup) => !backup.destinations.includes(name))
  const lacking = plan.destinations.find(({ name, required }) => required && lacks(name))
  if (lacking) return orFull(`Destination ${lacking.name} does not hold the whole chain ${full.chain}.`)
  const manifests = new ManifestReader(plan, warn)
  let base: NonNullable<BackupRequest['base']>
  try {
    const open = async (entry: CatalogEntry): Promise<OpenBackup> => {
      const from = plan.destinations.find(({ name }) => entry.destinations.includes(name)) as Destination
      return openBackup(from, await manifests.read(entry), signal)
    }
    const logs = chain.filter((backup) => backup.kind === 'log')
    const newest = logs.at(-1)
    base = {
      full: await open(full),
      previous: await open(previous),
      ...(newest && { newestLog: await manifests.read(newest) }),
      logs: async () => {
        const read = await readAll(manifests, [full, ...logs])
        const [start, ...rest] = read as [Manifest, ...Manifest[]]
        const path = pathOfLogs(plan.adapter, start, rest)
        const end = (path.at(-1) ?? start).position.end
        const last = rest.at(-1)
        if (last && plan.adapter.comparePositions(end, last.position.end) !== 0)
          throw new BackupError('BASE_UNUSABLE', `The log backups up to ${last.id} have a gap.`)
        return Promise.all(path.map(({ id }) => open(logs.find((log) => log.id === id) as CatalogEntry)))
      },
    }
  } catch (thrown) {
    const error = toBackupError(thrown, 'STORAGE_FAILED', `Cannot read the manifests of chain ${full.chain}`)
    if (error.code !== 'MANIFEST_DAMAGED' && error.code !== 'OBJECT_MISSING') throw error
    return orFull(error.message)
  }
  const without = plan.destinations.map(({ name }) => name).filter(lacks)
  return {
    kind,
    chain: full.chain,
    after: (chain.at(-1) as CatalogEntry).startedAt,
    base,
    without: new Set(without),
  }
}

/** Manifests in the order of `entries`, several at a time. */
async function readAll(manifests: ManifestReader, entries: readonly CatalogEntry[]): Promise<Manifest[]> {
  const read: Manifest[] = []
  for await (const manifest of inOrder(entries, 8, (entry) => manifests.read(entry))) read.push(manifest)
  return read
}

async function makeBackup(work: Work, signal: AbortSignal, lock: Pick<Lock, 'assertHeld'>, start: Start) {
  const { plan } = work
  const startedAt = new Date(Math.max(plan.runtime.now().getTime(), (start.after?.getTime() ?? 0) + 1))
  const chain = start.chain ?? newChainName(startedAt, plan.runtime.randomId(4))
  const id = newBackupId(chain, startedAt, start.kind)
  work.emit({ type: 'started', backupId: id, kind: start.kind })
  const writer = new BackupWriter(work, id, start.without ?? new Set(), signal)
  let manifest: Manifest | undefined
  try {
    const members: ManifestMember[] = []
    const request: BackupRequest = {
      kind: start.kind,
      id,
      startedAt,
      fileStem: fileStem(plan.name, startedAt),
      compression: plan.compression,
      ...(start.base && { base: start.base }),
    }
    const facts = await readSource(plan, request, work, signal, async (member) => {
      const stored = await writer.storeMember(member)
      if (members.some((other) => other.file === stored.file)) {
        throw new BackupError('CONTRACT_BROKEN', `The adapter gave two members the name ${stored.name}.`)
      }
      members.push(stored)
    })
    if (members.length === 0) throw new BackupError('CONTRACT_BROKEN', 'The adapter gave a backup without a member.')
    manifest = {
      formatVersion: 1,
      generator: GENERATOR,
      id,
      plan: plan.name,
      chain,
      kind: start.kind,
      ...(start.requested && { requested: start.requested }),
      ...(start.base && { base: { full: start.base.full.manifest.id, previous: start.base.previous.manifest.id } }),
      engine: { name: plan.adapter.engine, version: facts.source.engineVersion },
      startedAt: startedAt.toISOString(),
      consistentAt: facts.consistentAt.toISOString(),
      finishedAt: plan.runtime.now().toISOString(),
      position: facts.position,
      members,
      source: facts.source,
      method: facts.method,
      notes: facts.notes,
      ...(facts.resolutionMs !== undefined && { resolutionMs: facts.resolutionMs }),
      ...(facts.gaps && { gaps: facts.gaps }),
    }
    await writer.checkSizes(members)
    await lock.assertHeld()
    throwIfAborted(signal)
    await writer.commit(serializeManifest(manifest))
    return { manifest, destinations: writer.outcomes() }
  } catch (error) {
    await writer.removeEverything()
    // Before, the adapter cleared up itself; once it has given its facts it took the backup for made.
    if (manifest) await forgetUncommitted(work, manifest)
    throw error
  }
}

/** What no manifest will tell of must not stay anywhere. */
async function forgetUncommitted({ plan, adapterContext, warn }: Work, manifest: Manifest): Promise<void> {
  try {
    await plan.adapter.forget?.(manifest, adapterContext('reading', new AbortController().signal))
  } catch (thrown) {
    const error = toBackupError(thrown, 'INTERNAL', 'The adapter failed')
    warn(`What the adapter keeps of ${manifest.id} could not be removed: ${error.message}`, error.code)
  }
}

/** Takes the members from the adapter one after another, and its facts at the end. */
async function readSource(
  plan: BackupPlan,
  request: BackupRequest,
  work: Work,
  signal: AbortSignal,
  take: (member: Member) => Promise<void>,
): Promise<BackupFacts> {
  const source = plan.adapter.backup(request, work.adapterContext('reading', signal))
  try {
    for (;;) {
      throwIfAborted(signal)
      const step = await source.next()
      if (step.done) return step.value
      await take(step.value)
    }
  } catch (thrown) {
    await source.return(undefined as never).catch(() => {})
    throwIfAborted(signal) // whatever an abort made fail, the abort is the reason
    throw toBackupError(thrown, 'INTERNAL', 'The adapter failed')
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)
