import { readCatalog } from '../catalog.ts'
import type { AdapterContext } from '../contracts/adapter.ts'
import type { CatalogEntry } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import { ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'

/** Called before `destination` loses the manifest of a backup; when it throws, the manifest must stay. */
export type Forget = (destination: string, entry: CatalogEntry) => Promise<void>

/**
 * Has the adapter forget a backup when the last of the destinations is about to lose it: before its manifest goes, so
 * that nothing is kept anywhere that no manifest tells of.
 */
export async function forgetLast(plan: BackupPlan, ctx: AdapterContext): Promise<Forget> {
  const { adapter } = plan
  if (!adapter.forget) return async () => {}
  const { backups, unreachable } = await readCatalog(plan.name, plan.destinations)
  const holders = new Map(backups.map(({ id, destinations }) => [id, new Set(destinations)]))
  const manifests = new ManifestReader(plan, ctx.onWarning)
  return async (destination, entry) => {
    const others = holders.get(entry.id)
    others?.delete(destination)
    // What could not be listed may hold it still, and forgets it when its own turn comes.
    if ((others && others.size > 0) || unreachable.length > 0) return
    try {
      await adapter.forget?.(await manifests.read(entry), ctx)
    } catch (thrown) {
      // Nobody can say any more what a damaged manifest told of.
      if (thrown instanceof BackupError && thrown.code === 'MANIFEST_DAMAGED') ctx.onWarning(thrown.message)
      else throw thrown
    }
  }
}
