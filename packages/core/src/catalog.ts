import type { BackupKind, CatalogEntry, VerificationLevel } from './contracts/backup.ts'
import type { ObjectInfo, Storage } from './contracts/storage.ts'
import { BackupError, toBackupError } from './errors.ts'
import { type BackupName, meaningOf, planPrefix } from './layout.ts'
import type { Destination } from './plan.ts'

/** What depends on nothing first. */
const KINDS: readonly BackupKind[] = ['full', 'differential', 'log']
const LEVELS: readonly VerificationLevel[] = ['stored', 'decoded', 'restored']

/** What one destination holds of a plan. */
export interface DestinationListing {
  readonly backups: readonly CatalogEntry[]
  /** Keys of all objects of each backup in `backups`, by id. */
  readonly keys: ReadonlyMap<string, readonly string[]>
  /** Objects of backups without a manifest, and half-written ones: what killed processes left. */
  readonly leftovers: readonly ObjectInfo[]
}

/** What the storages hold of a plan: the one source of truth. */
export interface Catalog {
  /** Committed backups, oldest first. */
  readonly backups: readonly CatalogEntry[]
  /**
   * Ids of backups that are being made or removed right now, or whose process was killed while it did: those the next
   * prune removes.
   */
  readonly incomplete: readonly string[]
  /** Destinations that could not be read; their backups are missing above unless another destination has them. */
  readonly unreachable: readonly { readonly destination: string; readonly code: string; readonly message: string }[]
}

/** Reads what one destination holds, from its listing alone. */
export async function listDestination(
  plan: string,
  destination: { name: string; storage: Storage },
): Promise<DestinationListing> {
  const found = new Map<string, Found>()
  const held = new Set<string>()
  const leftovers: ObjectInfo[] = []
  for await (const object of destination.storage.list(planPrefix(plan))) {
    const meaning = meaningOf(plan, object.key)
    if (meaning.is === 'hold') held.add(meaning.chain)
    if (meaning.is === 'partial') leftovers.push(object)
    if (meaning.is === 'manifest' || meaning.is === 'member' || meaning.is === 'verification') {
      let backup = found.get(meaning.backup.id)
      if (!backup) {
        backup = { name: meaning.backup, objects: [], committed: false, passed: new Set(), failed: new Set() }
        found.set(meaning.backup.id, backup)
      }
      backup.objects.push(object)
      if (meaning.is === 'manifest') backup.committed = true
      if (meaning.is === 'verification') backup[meaning.passed ? 'passed' : 'failed'].add(meaning.level)
    }
  }
  const backups: CatalogEntry[] = []
  const keys = new Map<string, string[]>()
  for (const backup of found.values()) {
    if (!backup.committed) {
      leftovers.push(...backup.objects)
      continue
    }
    backups.push(toEntry(backup, destination.name, held))
    keys.set(
      backup.name.id,
      backup.objects.map((object) => object.key),
    )
  }
  return { backups: backups.sort(byTime), keys, leftovers }
}

interface Found {
  readonly name: BackupName
  readonly objects: ObjectInfo[]
  committed: boolean
  readonly passed: Set<VerificationLevel>
  readonly failed: Set<VerificationLevel>
}

function toEntry(found: Found, destination: string, held: ReadonlySet<string>): CatalogEntry {
  const verified = LEVELS.findLast((level) => found.passed.has(level))
  return {
    ...found.name,
    storedBytes: found.objects.reduce((sum, object) => sum + object.sizeBytes, 0),
    destinations: [destination],
    ...(verified && found.failed.size === 0 && { verified }),
    failedVerification: found.failed.size > 0,
    held: held.has(found.name.chain),
  }
}

/** Oldest first; of two of the same moment the one that the other may depend on. */
export function byTime(a: CatalogEntry, b: CatalogEntry): number {
  return (
    a.startedAt.getTime() - b.startedAt.getTime() ||
    KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
    (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
  )
}

/**
 * Reads every destination and merges what they hold.
 *
 * @throws `STORAGE_FAILED` and the like when not a single destination can be read
 */
export async function readCatalog(plan: string, destinations: readonly Destination[]): Promise<Catalog> {
  const unreachable: { destination: string; code: string; message: string }[] = []
  const listings = await Promise.all(
    destinations.map(async (destination) => {
      try {
        return await listDestination(plan, destination)
      } catch (thrown) {
        const error = toBackupError(thrown, 'STORAGE_FAILED', `Cannot list ${destination.name}`)
        unreachable.push({ destination: destination.name, code: error.code, message: error.message })
        return error
      }
    }),
  )
  if (unreachable.length === destinations.length) throw listings[0]
  const merged = new Map<string, CatalogEntry>()
  const incomplete = new Set<string>()
  for (const listing of listings) {
    if (listing instanceof BackupError) continue
    for (const entry of listing.backups) {
      const other = merged.get(entry.id)
      merged.set(entry.id, other ? mergeEntries(other, entry) : entry)
    }
    for (const { key } of listing.leftovers) {
      const meaning = meaningOf(plan, key)
      if ('backup' in meaning && meaning.backup) incomplete.add(meaning.backup.id)
    }
  }
  return {
    backups: [...merged.values()].sort(byTime),
    incomplete: [...incomplete].filter((id) => !merged.has(id)).sort(),
    unreachable,
  }
}

/** Two destinations' views of one backup. A failure in one of them is worth telling, whatever passed elsewhere. */
function mergeEntries(a: CatalogEntry, b: CatalogEntry): CatalogEntry {
  const failedVerification = a.failedVerification || b.failedVerification
  const { verified: _a, ...rest } = a
  const verified = LEVELS.findLast((level) => a.verified === level || b.verified === level)
  return {
    ...rest,
    destinations: [...a.destinations, ...b.destinations],
    ...(verified && !failedVerification && { verified }),
    failedVerification,
    held: a.held || b.held,
  }
}
