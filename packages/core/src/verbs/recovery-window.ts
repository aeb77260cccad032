import { readCatalog } from '../catalog.ts'
import type { CatalogEntry, Manifest } from '../contracts/backup.ts'
import { ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'

/** A stretch of time inside a chain that can be restored to. */
export interface ReachableStretch {
  /** First and last moment; the same for the state of a single backup. */
  readonly from: Date
  readonly to: Date
  /** True when every moment in between can be reached, not only those of the backups. */
  readonly everyMoment: boolean
  /** Ids of the backups that it rests on, in their order. */
  readonly backups: readonly string[]
}

/** Time between two stretches that no backup leads to. */
export interface RecoveryGap {
  readonly after: Date
  readonly until: Date
  readonly reason: string
}

/** What one chain can be restored to. */
export interface ChainWindow {
  readonly chain: string
  readonly first: Date
  readonly last: Date
  readonly stretches: readonly ReachableStretch[]
  readonly gaps: readonly RecoveryGap[]
}

/** What a plan's backups can be restored to. Plain data. */
export interface RecoveryWindow {
  /** The first and the last reachable moment; absent when there is no full backup. */
  readonly first?: Date
  readonly last?: Date
  /** Oldest first; a chain whose full is gone is left out. */
  readonly chains: readonly ChainWindow[]
  readonly warnings: readonly string[]
}

/**
 * Tells what can be restored, from manifests alone: nothing is fetched and no server is asked.
 *
 * @throws `STORAGE_FAILED` and the like when no destination can be read, `MANIFEST_DAMAGED`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, recoveryWindow } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({ name: 'app', adapter: sqlite({ file: 'app.db' }), destinations: [memory()] })
 * await createBackup(plan)
 * const { chains } = await recoveryWindow(plan)
 * console.log(chains.length, chains[0]?.gaps) // 1 []
 * ```
 */
export async function recoveryWindow(plan: BackupPlan): Promise<RecoveryWindow> {
  const { backups, unreachable } = await readCatalog(plan.name, plan.destinations)
  const warnings = unreachable.map(
    ({ destination, message }) => `Destination ${destination} cannot be read: ${message}`,
  )
  const manifests = new ManifestReader(plan, (message) => warnings.push(message))
  const chains: ChainWindow[] = []
  for (const full of backups.filter(({ kind }) => kind === 'full')) {
    chains.push(await windowOf(plan, full, backups.slice(backups.indexOf(full)), manifests))
  }
  const firsts = chains.map(({ first }) => first.getTime())
  const lasts = chains.map(({ last }) => last.getTime())
  return {
    ...(chains.length > 0 && { first: new Date(Math.min(...firsts)), last: new Date(Math.max(...lasts)) }),
    chains,
    warnings,
  }
}

async function windowOf(
  { adapter }: BackupPlan,
  full: CatalogEntry,
  from: readonly CatalogEntry[],
  manifests: ManifestReader,
): Promise<ChainWindow> {
  const own = await Promise.all(from.filter(({ chain }) => chain === full.chain).map((entry) => manifests.read(entry)))
  // Logs of later chains may go on where this one's end.
  const later = from.filter(({ chain, kind }) => adapter.follows && chain !== full.chain && kind === 'log')
  const logs = own.filter(({ kind }) => kind === 'log')
  for (const entry of later) {
    const manifest = await manifests.read(entry)
    const before = logs.at(-1) ?? (own[0] as Manifest)
    if (adapter.follows?.(manifest, before)) logs.push(manifest)
  }
  const stretches: ReachableStretch[] = []
  const reasons = new Map<number, string>()
  for (const base of own.filter(({ kind }) => kind !== 'log')) {
    const { path, reason } = walk(adapter, base, logs)
    const to = path.at(-1) as Manifest
    const stretch = {
      from: new Date(base.consistentAt),
      to: new Date(to.consistentAt),
      everyMoment: adapter.pointInTime === true && path.length > 1,
      backups: [...(base.kind === 'differential' ? [full.id] : []), ...path.map(({ id }) => id)],
    }
    if (reason) reasons.set(stretch.to.getTime(), reason)
    const last = stretches.at(-1)
    // What an earlier base reaches as well needs no second stretch.
    if (last?.everyMoment && stretch.to <= last.to) continue
    if (last?.everyMoment && stretch.from <= last.to) stretches[stretches.length - 1] = { ...last, to: stretch.to }
    else stretches.push(stretch)
  }
  const first = stretches[0] as ReachableStretch
  return {
    chain: full.chain,
    first: first.from,
    last: (stretches.at(-1) as ReachableStretch).to,
    stretches,
    gaps: stretches.slice(1).map(({ from: until }, index) => {
      const after = (stretches[index] as ReachableStretch).to
      return { after, until, reason: reasons.get(after.getTime()) ?? 'There is no log backup of this time.' }
    }),
  }
}

/** From a base as far as logs without a gap lead, and why not further. */
function walk(
  adapter: BackupPlan['adapter'],
  base: Manifest,
  logs: readonly Manifest[],
): { path: Manifest[]; reason?: string } {
  const path = [base]
  for (const log of logs) {
    const before = path.at(-1) as Manifest
    const { begin, end } = log.position
    if (adapter.comparePositions(end, before.position.end) <= 0) {
      // A log of no change still tells that nothing happened until then.
      const goesOn = begin !== undefined && adapter.comparePositions(end, before.position.end) === 0
      if (goesOn && log.consistentAt > before.consistentAt) path.push(log)
      continue
    }
    if (begin === undefined || adapter.comparePositions(begin, before.position.end) > 0)
      return { path, reason: `A log backup is missing: ${log.id} does not begin where ${before.id} ends.` }
    path.push(log)
  }
  return { path }
}
