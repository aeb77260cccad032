import { type Catalog, readCatalog } from '../catalog.ts'
import type { BackupPlan } from '../plan.ts'

/**
 * Lists the committed backups of a plan, oldest first, from the listings of its destinations alone: no manifest is read.
 * Works as long as one destination can be read; the others are named in `unreachable`.
 *
 * @throws the storage's own code when no destination can be read
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, listBackups, memory } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * await createBackup(plan)
 * for (const backup of (await listBackups(plan)).backups) console.log(backup.kind, backup.storedBytes > 0) // full true
 * ```
 */
export async function listBackups(plan: BackupPlan): Promise<Catalog> {
  return readCatalog(plan.name, plan.destinations)
}
