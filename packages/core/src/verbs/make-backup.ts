import type { BackupAdapter, BackupFacts, BackupRequest, Member } from '../contracts/adapter.ts'
import type { BackupKind, Manifest, ManifestMember } from '../contracts/backup.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { GENERATOR } from '../generator.ts'
import { fileStem, newBackupId, newChainName } from '../layout.ts'
import type { Lock } from '../lock.ts'
import { serializeManifest } from '../manifest.ts'
import { later, timeOf } from './backup-time.ts'
import { BackupWriter, type DestinationOutcome } from './backup-writer.ts'
import type { Work } from './run.ts'

/** Which backup is to be made, and what it continues. */
export interface Start {
  readonly kind: BackupKind
  readonly requested?: { readonly kind: BackupKind; readonly reason: string }
  readonly chain?: string
  readonly base?: NonNullable<BackupRequest['base']>
  /** Start of the chain's newest backup: this one's is later, whatever the clock says, so that their ids stay in order. */
  readonly after?: Date
  /** Instead of now: for a backup that takes the place of others. Nothing in the chain may have this time. */
  readonly startedAt?: Date
  /** What its manifest says that it continues. Default: what `base` says. */
  readonly continues?: NonNullable<Manifest['base']>
  /** Optional destinations that do not hold the chain. */
  readonly without?: ReadonlySet<string>
}

/** Gives the members and facts of a backup: the adapter, or what follows its log or merges logs. */
export type BackupSource = BackupAdapter['backup']

export interface MadeBackup {
  readonly manifest: Manifest
  readonly destinations: readonly DestinationOutcome[]
}

/**
 * Makes one backup from what `source` gives and stores it in the plan's destinations; it exists once its manifest is
 * stored. The caller holds the plan's lock.
 */
export async function makeBackup(
  work: Work,
  signal: AbortSignal,
  lock: Pick<Lock, 'assertHeld'>,
  start: Start,
  source: BackupSource = (request, ctx) => work.plan.adapter.backup(request, ctx),
): Promise<MadeBackup> {
  const { plan } = work
  const { startedAt, notBefore = new Date(0), note } = await timeOf(work, start)
  const { base } = start
  const continues = start.continues ?? (base && { full: base.full.manifest.id, previous: base.previous.manifest.id })
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
      ...(base && { base }),
    }
    const facts = await readSource(
      () => source(request, work.adapterContext('reading', signal)),
      signal,
      async (member) => {
        const stored = await writer.storeMember(member)
        if (members.some((other) => other.file === stored.file)) {
          throw new BackupError('CONTRACT_BROKEN', `The adapter gave two members the name ${stored.name}.`)
        }
        members.push(stored)
      },
    )
    if (members.length === 0) throw new BackupError('CONTRACT_BROKEN', 'The adapter gave a backup without a member.')
    manifest = {
      formatVersion: 1,
      generator: GENERATOR,
      id,
      plan: plan.name,
      chain,
      kind: start.kind,
      ...(start.requested && { requested: start.requested }),
      ...(continues && { base: continues }),
      engine: { name: plan.adapter.engine, version: facts.source.engineVersion },
      startedAt: startedAt.toISOString(),
      consistentAt: later(facts.consistentAt, notBefore).toISOString(),
      finishedAt: plan.runtime.now().toISOString(),
      position: facts.position,
      members,
      source: facts.source,
      method: facts.method,
      notes: note === undefined ? facts.notes : [...facts.notes, note],
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
  open: () => ReturnType<BackupSource>,
  signal: AbortSignal,
  take: (member: Member) => Promise<void>,
): Promise<BackupFacts> {
  const source = open()
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
