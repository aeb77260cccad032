import { readCatalog } from '../catalog.ts'
import { BackupError } from '../errors.ts'
import { holdKey } from '../layout.ts'
import type { BackupPlan } from '../plan.ts'
import { withLock } from './run.ts'

/**
 * Puts the chain of a backup on hold in every destination that has it: no prune removes it until it is released.
 *
 * @throws `BACKUP_NOT_FOUND`, `PLAN_LOCKED` while a prune runs, and whatever a storage throws
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, holdBackup, listBackups, memory, releaseBackup } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * const { id } = await createBackup(plan)
 * await holdBackup(plan, { id, reason: 'lawsuit 4711' })
 * console.log((await listBackups(plan)).backups[0]?.held) // true
 * await releaseBackup(plan, { id })
 * ```
 */
export async function holdBackup(plan: BackupPlan, { id, reason }: { id: string; reason: string }): Promise<void> {
  if (typeof reason !== 'string' || reason.trim() === '')
    throw new BackupError('OPTIONS_INVALID', 'A hold needs a `reason`.')
  const content = Buffer.from(`${JSON.stringify({ reason, heldAt: plan.runtime.now().toISOString() }, null, 2)}\n`)
  // A prune that runs at the same time would not see the hold and remove the chain all the same.
  await withLock({ plan, signal: new AbortController().signal, warn: () => {} }, 'holdBackup', 'read', async () => {
    const { chain, holders } = await findHolders(plan, id)
    await Promise.all(holders.map(({ storage }) => storage.put(holdKey(plan.name, chain), content)))
  })
}

/**
 * Takes the hold off the chain of a backup, in every destination.
 *
 * @throws `BACKUP_NOT_FOUND`, and whatever a storage throws
 */
export async function releaseBackup(plan: BackupPlan, { id }: { id: string }): Promise<void> {
  const { chain, holders } = await findHolders(plan, id)
  await Promise.all(holders.map(({ storage }) => storage.delete(holdKey(plan.name, chain))))
}

async function findHolders(plan: BackupPlan, id: string) {
  const { backups, unreachable } = await readCatalog(plan.name, plan.destinations)
  const entry = backups.find((backup) => backup.id === id)
  if (!entry) throw new BackupError('BACKUP_NOT_FOUND', `There is no backup ${id} in any reachable destination.`)
  if (unreachable[0]) {
    const { destination, message } = unreachable[0]
    throw new BackupError('DESTINATION_FAILED', `Destination ${destination} cannot be read: ${message}`)
  }
  const holding = new Set(
    backups.filter((backup) => backup.chain === entry.chain).flatMap((backup) => backup.destinations),
  )
  return { chain: entry.chain, holders: plan.destinations.filter(({ name }) => holding.has(name)) }
}
