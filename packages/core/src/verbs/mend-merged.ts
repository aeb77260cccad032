import { buffer } from 'node:stream/consumers'
import type { CatalogEntry, Manifest } from '../contracts/backup.ts'
import { type BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { backupPrefix, manifestKey, memberKey } from '../layout.ts'
import { readManifest } from '../manifest.ts'
import { isDamage } from '../manifest-reader.ts'
import { checkStored } from '../pipeline/member.ts'
import type { BackupPlan, Destination } from '../plan.ts'
import type { Forget } from './forget-backup.ts'
import { pathOfLogs } from './log-path.ts'
import { removeBackups } from './remove-backups.ts'
import type { Work } from './run.ts'

/**
 * What is wrong with the copy of a backup in one destination, by its manifest there; `undefined` when it is whole.
 *
 * @throws when it could not be read for another reason
 */
export async function damageIn(
  { storage }: Destination,
  plan: string,
  id: string,
  signal: AbortSignal,
): Promise<BackupError | undefined> {
  try {
    const { members } = await readManifest(storage, plan, id, signal)
    for (const member of members) {
      await checkStored(member, await storage.get(memberKey(plan, id, member.file), { signal }), () => {})
    }
    return undefined
  } catch (thrown) {
    throwIfAborted(signal)
    const error = toBackupError(thrown, 'STORAGE_FAILED', 'It cannot be read')
    if (isDamage(error) || error.code === 'MEMBER_DAMAGED') return error
    throw error
  }
}

/** A merged log that is damaged where logs that it was made of still are. */
export interface DamagedMerge {
  readonly at: Destination
  readonly log: Manifest
  readonly entry: CatalogEntry
  readonly damage: BackupError
  /** What it stands for and is still there. */
  readonly inputs: readonly Manifest[]
}

/**
 * Puts a damaged merged log there anew, from a destination that has it whole. When none has, it is removed as soon as
 * what it was made of is whole: recoveries would go on to take the longer way, and the next merge makes it anew.
 * Otherwise it stays: what is before its damage can still be restored. Under the exclusive lock.
 */
export async function mendMerged(
  { plan, warn }: Pick<Work, 'plan' | 'warn'>,
  { at, log, entry, damage, inputs }: DamagedMerge,
  forget: Forget,
  signal: AbortSignal,
): Promise<void> {
  const tell = (what: string): void => warn(`${log.id} in ${at.name} ${what} ${damage.message}`, damage.code)
  const others = plan.destinations.filter(({ name }) => name !== at.name)
  for (const other of others) {
    if (await damageIn(other, plan.name, log.id, signal)) continue
    await copy(plan, log.id, other, at, signal)
    return tell(`was damaged, and is put there anew from ${other.name}.`)
  }
  if (!(await canBeMadeAnew(plan, log, at, inputs, signal)) || (await isKeptElsewhere(plan, log.id))) {
    return tell(
      'is damaged, and some of the logs that it was made of are gone or damaged as well: of this time only what is ' +
        'before the damage can be restored from there. A new full begins a whole chain.',
    )
  }
  // Here it goes last: as long as it is anywhere else it stands for what it was made of, and nobody would look.
  for (const { name, storage } of [...others.filter(({ storage }) => !storage.capabilities.readOnly), at]) {
    const keys: string[] = []
    for await (const { key } of storage.list(backupPrefix(plan.name, log.id))) keys.push(key)
    await removeBackups({ plan: plan.name, name, storage, keys: new Map([[log.id, keys]]) }, [entry], forget, signal)
  }
  tell('was damaged and is removed: what it was made of is whole, and the next merge makes it anew.')
}

/** Members first: the manifest that is there tells that they are another one's until all of it has come. */
async function copy(plan: BackupPlan, id: string, from: Destination, to: Destination, signal: AbortSignal) {
  const { members } = await readManifest(from.storage, plan.name, id, signal)
  for (const { file } of members) {
    const key = memberKey(plan.name, id, file)
    await to.storage.put(key, await from.storage.get(key, { signal }), { signal })
  }
  const key = manifestKey(plan.name, id)
  await to.storage.put(key, await buffer(await from.storage.get(key, { signal })), { signal })
}

/** Whether whole logs in `at` lead from its begin to its end. */
async function canBeMadeAnew(
  { name, adapter }: BackupPlan,
  log: Manifest,
  at: Destination,
  inputs: readonly Manifest[],
  signal: AbortSignal,
): Promise<boolean> {
  const { begin, end } = log.position
  // A log of no change at its end may be all that tells until when nothing happened.
  if (begin === undefined || !inputs.some(({ consistentAt }) => consistentAt === log.consistentAt)) return false
  const before: Manifest = { ...log, position: { end: begin } }
  const whole = new Set<Manifest>()
  let left = inputs
  for (;;) {
    const path = pathOfLogs(adapter, before, left)
    if (adapter.comparePositions((path.at(-1) ?? before).position.end, end) !== 0) return false
    const next = path.find((one) => !whole.has(one))
    if (!next) return true
    if (await damageIn(at, name, next.id, signal)) left = left.filter((one) => one !== next)
    else whole.add(next)
  }
}

/** Whether a destination has it that nothing can be removed from. */
async function isKeptElsewhere({ name, destinations }: BackupPlan, id: string): Promise<boolean> {
  for (const { storage } of destinations) {
    if (storage.capabilities.readOnly && (await storage.stat(manifestKey(name, id)))) return true
  }
  return false
}
