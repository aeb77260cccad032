import { byTime } from '../catalog.ts'
import type { CatalogEntry } from '../contracts/backup.ts'
import type { Storage } from '../contracts/storage.ts'
import { throwIfAborted } from '../errors.ts'
import { manifestKey } from '../layout.ts'
import { inOrder } from '../pipeline/in-order.ts'
import type { Forget } from './forget-backup.ts'

const CHAINS_IN_FLIGHT = 8

/** Where backups are removed. */
export interface RemovalPlace {
  readonly plan: string
  /** Name of the destination. */
  readonly name: string
  readonly storage: Storage
  /** Keys of all objects of each backup, by id. */
  readonly keys: ReadonlyMap<string, readonly string[]>
}

/** Removes backups from one destination, newest first: whatever stops it, what is listed afterwards is whole. */
export async function removeBackups(
  place: RemovalPlace,
  backups: readonly CatalogEntry[],
  forget: Forget,
  signal: AbortSignal,
): Promise<void> {
  const chains = new Map<string, CatalogEntry[]>()
  for (const backup of [...backups].sort(byTime).reverse()) {
    const chain = chains.get(backup.chain)
    if (chain) chain.push(backup)
    else chains.set(backup.chain, [backup])
  }
  const remove = async (key: string): Promise<void> => {
    throwIfAborted(signal)
    await place.storage.delete(key)
  }
  const deletes = inOrder([...chains.values()], CHAINS_IN_FLIGHT, async (newestFirst) => {
    // One after another: this order keeps what is listed whole when it is killed in between.
    for (const entry of newestFirst) {
      throwIfAborted(signal)
      await forget(place.name, entry)
      await remove(manifestKey(place.plan, entry.id))
    }
    for (const { id } of newestFirst) {
      for (const key of place.keys.get(id) ?? []) if (key !== manifestKey(place.plan, id)) await remove(key)
    }
  })
  for await (const _ of deletes);
}
