import { readCatalog } from '../catalog.ts'
import type { CatalogEntry, Manifest } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import { isDamage, type ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'
import {
  type MergeCandidate,
  type MergeSettings,
  mergeFactsOf,
  neighboursOf,
  planMerges,
  supersededLogs,
} from './plan-merges.ts'
import type { Work } from './run.ts'

/** Logs to be made one, and what the one will be. */
export interface FoundRun {
  readonly chain: string
  /** Oldest first. */
  readonly logs: readonly Manifest[]
  readonly level: number
  readonly thin: boolean
  /** Set when they were thinned before. */
  readonly thinnedToMs?: number
  /** Just after the newest of the logs: nothing else in the chain has this time. */
  readonly startedAt: Date
  readonly continues: NonNullable<Manifest['base']>
  /** Destinations that hold all of the logs. */
  readonly holders: ReadonlySet<string>
}

/** What there is to do in one chain. */
export interface ChainOfLogs {
  readonly chain: string
  readonly runs: readonly FoundRun[]
  /** Ids of logs that a merged one stands for, with its id. */
  readonly superseded: ReadonlyMap<string, string>
}

/** Lists the plan and works out what can be merged, and what was merged and is still there. */
export async function findMerges(
  { plan, warn }: Work,
  manifests: ManifestReader,
  settings: MergeSettings,
): Promise<ChainOfLogs[]> {
  const { backups, unreachable } = await readCatalog(plan.name, plan.destinations)
  for (const { destination, message, code } of unreachable) warn(`Destination ${destination}: ${message}`, code)
  const { thinBefore } = settings
  const chains = new Map<string, CatalogEntry[]>()
  for (const backup of backups) {
    const entries = chains.get(backup.chain)
    if (entries) entries.push(backup)
    else chains.set(backup.chain, [backup])
  }
  const newest = backups.findLast(({ kind }) => kind === 'full')?.chain
  const found: ChainOfLogs[] = []
  for (const [chain, entries] of chains) {
    // Of an older chain nothing needs to be read until it can be thinned as a whole, and then becomes a few logs.
    const isOld = thinBefore !== undefined && entries.every(({ startedAt }) => startedAt < thinBefore)
    const merges = chain === newest || isOld
    if (entries[0]?.held || !(merges || newestInputs(entries).length > 0)) continue
    const one = await findInChain(plan, chain, entries, manifests, settings)
    found.push(merges ? one : { ...one, runs: [] })
  }
  return found
}

/**
 * Logs behind which a merged one may stand, as their names tell: the newest that it was made of. They are removed last, so
 * that what is left of others can be told by them.
 */
export function newestInputs(entries: readonly CatalogEntry[]): CatalogEntry[] {
  const times = new Set(entries.map(({ startedAt }) => startedAt.getTime()))
  return entries.filter((entry) => entry.kind === 'log' && times.has(mergedAt(entry).getTime()))
}

async function findInChain(
  plan: BackupPlan,
  chain: string,
  entries: readonly CatalogEntry[],
  manifests: ManifestReader,
  settings: MergeSettings,
): Promise<ChainOfLogs> {
  const logs = new Map<string, Log>()
  for await (const [entry, manifest] of manifests.readEach(entries.filter(({ kind }) => kind === 'log'))) {
    if (!(manifest instanceof BackupError)) logs.set(entry.id, { entry, manifest })
    // It counts as missing; the reader has said so.
    else if (!isDamage(manifest)) throw manifest
  }
  const manifestsOf = (some: Iterable<Log>): Manifest[] => [...some].map(({ manifest }) => manifest)
  const superseded = supersededLogs(plan.adapter, manifestsOf(logs.values()))
  const full = entries.find(({ kind }) => kind === 'full')
  if (!full) return { chain, runs: [], superseded }
  const required = plan.destinations.filter((destination) => destination.required)
  const usable = [...logs.values()].filter(
    ({ entry, manifest }) =>
      !superseded.has(entry.id) &&
      manifest.position.begin !== undefined &&
      required.every(({ name }) => entry.destinations.includes(name)),
  )
  const taken = new Set(entries.map(({ startedAt }) => startedAt.getTime()))
  const runs: FoundRun[] = []
  for (const neighbours of neighboursOf(plan.adapter, manifestsOf(usable))) {
    const candidates = neighbours.map((manifest) => toCandidate(logs.get(manifest.id) as Log, taken))
    for (const run of planMerges(candidates, settings)) {
      const own = run.ids.map((id) => logs.get(id) as Log)
      const [first, last] = [own[0], own.at(-1)] as [Log, Log]
      const before = neighbours[neighbours.indexOf(first.manifest) - 1]
      const thinnedToMs = own.flatMap(({ manifest }) => mergeFactsOf(manifest).thinnedToMs ?? [])
      runs.push({
        chain,
        logs: manifestsOf(own),
        level: run.level,
        thin: run.thin,
        ...(thinnedToMs.length > 0 && { thinnedToMs: Math.max(...thinnedToMs) }),
        startedAt: mergedAt(last.entry),
        continues: { full: full.id, previous: before?.id ?? first.manifest.base?.previous ?? full.id },
        holders: new Set(holdersOf(plan, own)),
      })
    }
  }
  return { chain, runs, superseded }
}

interface Log {
  readonly entry: CatalogEntry
  readonly manifest: Manifest
}

const toCandidate = ({ entry, manifest }: Log, taken: ReadonlySet<number>): MergeCandidate => ({
  id: entry.id,
  ...mergeFactsOf(manifest),
  consistentAt: new Date(manifest.consistentAt),
  plainBytes: manifest.members.reduce((sum, { plain }) => sum + plain.bytes, 0),
  canBeLast: !taken.has(mergedAt(entry).getTime()),
})

/** The time of a merged log whose newest input is `last`: just after it, where nothing else of the chain is. */
const mergedAt = ({ startedAt }: Pick<CatalogEntry, 'startedAt'>): Date => new Date(startedAt.getTime() + 1)

/** Names of the destinations that hold all of them. */
const holdersOf = ({ destinations }: BackupPlan, logs: readonly Log[]): string[] =>
  destinations.map(({ name }) => name).filter((name) => logs.every(({ entry }) => entry.destinations.includes(name)))
