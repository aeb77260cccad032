import { setImmediate as turn } from 'node:timers/promises'
import type { BackupKind, CatalogEntry, VerificationLevel } from './contracts/backup.ts'
import type { ObjectInfo, Storage } from './contracts/storage.ts'
import { BackupError, toBackupError } from './errors.ts'
import { type BackupName, meaningOf, parseBackupId, planPrefix } from './layout.ts'
import type { Destination } from './plan.ts'

/** What depends on nothing first. */
const KINDS: readonly BackupKind[] = ['full', 'differential', 'log']
const LEVELS: readonly VerificationLevel[] = ['stored', 'decoded', 'restored']

/** About a millisecond's worth of work. */
const TURN_BACKUPS = 500

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
  const parse = parsingOnce()
  for await (const object of destination.storage.list(planPrefix(plan))) {
    const meaning = meaningOf(plan, object.key, parse)
    if (meaning.is === 'hold') held.add(meaning.chain)
    if (meaning.is === 'partial') leftovers.push(object)
    if (meaning.is === 'manifest' || meaning.is === 'member' || meaning.is === 'verification') {
      let backup = found.get(meaning.backup.id)
      if (!backup) {
        backup = { name: meaning.backup, objects: [], committed: false, verifications: [] }
        found.set(meaning.backup.id, backup)
      }
      backup.objects.push(object)
      if (meaning.is === 'manifest') backup.committed = true
      if (meaning.is === 'verification') backup.verifications.push(meaning)
    }
  }
  const backups: CatalogEntry[] = []
  const keys = new Map<string, string[]>()
  for await (const backup of inTurns(found.values())) {
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
  readonly verifications: { readonly level: VerificationLevel; readonly passed: boolean }[]
}

/** The objects of a backup follow each other in a listing: its id need not be taken apart for each of them. */
function parsingOnce(): typeof parseBackupId {
  let last: BackupName | undefined
  return (id) => {
    if (last?.id !== id) last = parseBackupId(id)
    return last
  }
}

function toEntry(found: Found, destination: string, held: ReadonlySet<string>): CatalogEntry {
  const failedVerification = found.verifications.some(({ passed }) => !passed)
  const verified = LEVELS.findLast((level) => found.verifications.some((one) => one.passed && one.level === level))
  return {
    ...found.name,
    storedBytes: found.objects.reduce((sum, object) => sum + object.sizeBytes, 0),
    destinations: [destination],
    ...(verified && !failedVerification && { verified }),
    failedVerification,
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
    for await (const entry of inTurns(listing.backups)) {
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

/** The same items, and a turn of the event loop for the application after so many that it does not notice. */
async function* inTurns<T>(items: Iterable<T>): AsyncGenerator<T> {
  let done = 0
  for (const item of items) {
    yield item
    done += 1
    if (done % TURN_BACKUPS === 0) await turn()
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
