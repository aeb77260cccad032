import { listDestination } from '../catalog.ts'
import type { CatalogEntry, Manifest } from '../contracts/backup.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import type { ManifestReader } from '../manifest-reader.ts'
import type { Destination } from '../plan.ts'
import { type ChainOfLogs, newestInputs } from './find-merges.ts'
import { type Forget, forgetLast } from './forget-backup.ts'
import { damageIn, mendMerged } from './mend-merged.ts'
import { supersededLogs } from './plan-merges.ts'
import { removeBackups } from './remove-backups.ts'
import { type Work, withLock } from './run.ts'

export interface Removal {
  readonly removed: readonly string[]
  readonly waiting: readonly string[]
}

/**
 * Removes the logs for which merged ones stand, in each destination by what it holds itself, once what stands for them
 * has been read back from there; mends what reads back damaged. Does not wait for restores that may be reading them.
 */
export async function removeSuperseded(
  work: Work,
  manifests: ManifestReader,
  chains: readonly ChainOfLogs[],
): Promise<Removal> {
  const { plan } = work
  const ids = new Set(chains.flatMap(({ superseded }) => [...superseded.keys()]))
  if (ids.size === 0) return { removed: [], waiting: [] }
  const removed = new Set<string>()
  const now = { ...work, plan: { ...plan, lockWaitMs: 0 } }
  try {
    await withLock(now, 'mergeLogs', 'exclusive', async (signal, lock) => {
      const forget = await forgetLast(plan, work.adapterContext('removing', signal))
      for (const destination of plan.destinations.filter(({ storage }) => !storage.capabilities.readOnly)) {
        await lock.assertHeld()
        try {
          for (const id of await removeFrom(work, destination, manifests, chains, forget, signal)) removed.add(id)
        } catch (thrown) {
          throwIfAborted(signal)
          const error = toBackupError(thrown, 'STORAGE_FAILED', 'Removing failed')
          work.warn(`Merged logs could not be removed from ${destination.name}: ${error.message}`, error.code)
        }
      }
    })
  } catch (error) {
    // Somebody reads: the next merge removes them.
    if (!(error instanceof BackupError) || error.code !== 'PLAN_LOCKED') throw error
  }
  return { removed: [...removed].sort(), waiting: [...ids].filter((id) => !removed.has(id)).sort() }
}

async function removeFrom(
  work: Work,
  destination: Destination,
  manifests: ManifestReader,
  chains: readonly ChainOfLogs[],
  forget: Forget,
  signal: AbortSignal,
): Promise<string[]> {
  const { plan } = work
  const { backups, keys } = await listDestination(plan.name, destination)
  const going: CatalogEntry[] = []
  for (const { chain } of chains.filter(({ superseded }) => superseded.size > 0)) {
    const entries = backups.filter((backup) => backup.chain === chain && backup.kind === 'log' && !backup.held)
    const logs: Manifest[] = []
    for await (const [, manifest] of manifests.readEach(entries)) {
      if (!(manifest instanceof BackupError)) logs.push(manifest)
    }
    const superseded = supersededLogs(plan.adapter, logs)
    const whole = new Set<string>()
    for (const id of new Set(superseded.values())) {
      const damage = await damageIn(destination, plan.name, id, signal)
      if (!damage) {
        whole.add(id)
        continue
      }
      const log = logs.find((one) => one.id === id) as Manifest
      const entry = entries.find((one) => one.id === id) as CatalogEntry
      const inputs = logs.filter((one) => superseded.get(one.id) === id)
      await mendMerged(work, { at: destination, log, entry, damage, inputs }, forget, signal)
    }
    going.push(...entries.filter(({ id }) => whole.has(superseded.get(id) ?? '')))
  }
  const place = { plan: plan.name, name: destination.name, storage: destination.storage, keys }
  // The newest that each stands for goes last: by its name a merge finds, also in an older chain, that some are left.
  const last = new Set(newestInputs(backups))
  for (const some of [going.filter((entry) => !last.has(entry)), going.filter((entry) => last.has(entry))])
    await removeBackups(place, some, forget, signal)
  return going.map(({ id }) => id)
}
