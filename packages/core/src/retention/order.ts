import type { CatalogEntry } from '../contracts/backup.ts'

/**
 * A copy, newest first. Of two backups with the same time the one with the greater id comes first, so that the order
 * does not depend on the order of the input.
 */
export function newestFirst<T>(items: readonly T[], entryOf: (item: T) => CatalogEntry): T[] {
  const keyed = items.map((item) => ({ item, timeMs: entryOf(item).startedAt.getTime(), id: entryOf(item).id }))
  keyed.sort((a, b) => b.timeMs - a.timeMs || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0))
  return keyed.map(({ item }) => item)
}

/** The fulls among `backups`, newest first. */
export function fullsNewestFirst(backups: readonly CatalogEntry[]): CatalogEntry[] {
  return newestFirst(
    backups.filter((entry) => entry.kind === 'full'),
    (entry) => entry,
  )
}
