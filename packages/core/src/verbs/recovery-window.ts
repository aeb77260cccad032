import { readCatalog } from '../catalog.ts'
import type { BackupAdapter } from '../contracts/adapter.ts'
import type { CatalogEntry, Manifest } from '../contracts/backup.ts'
import { ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'
import { pathOfLogs } from './log-path.ts'

/** A stretch of time inside a chain that can be restored to. */
export interface ReachableStretch {
  /** First and last moment; the same for the state of a single backup. */
  readonly from: Date
  readonly to: Date
  /** True when every moment in between can be reached, not only those of the backups. */
  readonly everyMoment: boolean
  /**
   * Where not every moment can be reached: how far apart those that can be are at most, in milliseconds. Absent when
   * only the states of the backups can be.
   */
  readonly resolutionMs?: number
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
  const own = await manifests.readAll(from.filter(({ chain }) => chain === full.chain))
  const logs = own.filter(({ kind }) => kind === 'log')
  // Logs of later chains may go on where this one's end.
  const later = from.filter(({ chain, kind }) => adapter.follows && chain !== full.chain && kind === 'log')
  for (const manifest of await manifests.readAll(later)) {
    const before = logs.at(-1) ?? (own[0] as Manifest)
    if (adapter.follows?.(manifest, before)) logs.push(manifest)
  }
  const pieces = own
    .filter(({ kind }) => kind !== 'log')
    .flatMap((base) => piecesOf(adapter, base, logs, base.kind === 'differential' ? [full.id] : []))
  const stretches = joined(pieces)
  const first = stretches[0] as Piece
  return {
    chain: full.chain,
    first: first.from,
    last: (stretches.at(-1) as Piece).to,
    stretches: stretches.map(({ goesOn: _goesOn, reason: _reason, ...stretch }) => stretch),
    gaps: stretches
      .slice(1)
      .map(({ from: until }, index) => {
        const { to: after, reason = 'There is no log backup of this time.' } = stretches[index] as Piece
        return { after, until, reason }
      })
      .filter(({ after, until }) => after < until),
  }
}

/** What one base and its logs lead to without a break. */
interface Piece extends ReachableStretch {
  /** Whether there is more to reach than the states at its begin and its end. */
  readonly goesOn: boolean
  /** Why it ends where it does. */
  readonly reason?: string
}

/** From a base as far as logs lead; a new piece begins after each gap inside a log. */
function piecesOf(
  adapter: BackupAdapter,
  base: Manifest,
  logs: readonly Manifest[],
  before: readonly string[],
): Piece[] {
  const path = withStill(adapter, base, pathOfLogs(adapter, base, logs), logs)
  const last = path.at(-1) ?? base
  const pieces: Piece[] = []
  let fromMs = Date.parse(base.consistentAt)
  /** How many logs it takes to get to `fromMs`; the last of them may lead further. */
  let needed = 0
  const end = (toMs: number, used: number, reason: string | undefined): void => {
    const inside = path.slice(Math.max(0, needed - 1), used)
    const apart = inside.flatMap(({ resolutionMs = [] }) => resolutionMs)
    const lasts = fromMs < toMs
    pieces.push({
      from: new Date(fromMs),
      to: new Date(toMs),
      everyMoment: adapter.pointInTime === true && lasts,
      ...(lasts && apart.length > 0 && { resolutionMs: Math.max(...apart) }),
      backups: [...before, base.id, ...path.slice(0, used).map(({ id }) => id)],
      goesOn: adapter.pointInTime !== false && inside.length > 0,
      ...(reason !== undefined && { reason }),
    })
  }
  for (const [index, { gaps = [] }] of path.entries()) {
    for (const { after, until, reason } of gaps) {
      // A differential may have been made inside of it; what was before the base does not matter.
      if (Date.parse(until) <= fromMs) continue
      const toMs = Math.max(fromMs, Date.parse(after))
      end(toMs, toMs === fromMs ? needed : index + 1, reason)
      fromMs = Date.parse(until)
      needed = index + 1
    }
  }
  end(Math.max(fromMs, Date.parse(last.consistentAt)), path.length, missingAfter(adapter, last, logs))
  return pieces
}

/** A log of no change at the end of the path tells until when nothing happened. */
function withStill(
  { comparePositions }: BackupAdapter,
  base: Manifest,
  path: readonly Manifest[],
  logs: readonly Manifest[],
): Manifest[] {
  const last = path.at(-1) ?? base
  const still = logs
    .filter(({ position, consistentAt }) => {
      const goesOn = position.begin !== undefined && comparePositions(position.end, last.position.end) === 0
      return goesOn && consistentAt > last.consistentAt
    })
    .sort((a, b) => (a.consistentAt < b.consistentAt ? 1 : -1))
  return [...path, ...still.slice(0, 1)]
}

/** Says which log would lead further if it began where `last` ends. */
function missingAfter(
  { comparePositions }: BackupAdapter,
  last: Manifest,
  logs: readonly Manifest[],
): string | undefined {
  const next = logs.find((log) => comparePositions(log.position.end, last.position.end) > 0)
  return next && `A log backup is missing: ${next.id} does not begin where ${last.id} ends.`
}

/** One after another in time, without what another one reaches as well. */
function joined(pieces: readonly Piece[]): Piece[] {
  const stretches: Piece[] = []
  const inOrder = [...pieces].sort((a, b) => a.from.getTime() - b.from.getTime() || b.to.getTime() - a.to.getTime())
  for (const piece of inOrder) {
    const last = stretches.at(-1)
    if (!last?.goesOn || piece.from > last.to) stretches.push(piece)
    else if (piece.to > last.to) stretches[stretches.length - 1] = joinTwo(last, piece)
  }
  return stretches
}

function joinTwo(a: Piece, b: Piece): Piece {
  const { reason: _, ...rest } = a
  const apart = [a, b].flatMap(({ resolutionMs = [] }) => resolutionMs)
  return {
    ...rest,
    to: b.to,
    ...(apart.length > 0 && { resolutionMs: Math.max(...apart) }),
    backups: [...new Set([...a.backups, ...b.backups])],
    goesOn: b.goesOn,
    ...(b.reason !== undefined && { reason: b.reason }),
  }
}
