import type { Lsn } from '../lsn.ts'
import { type LocalMs, parseLocalTime } from '../server-time.ts'
import { RecoveryPath } from './path.ts'
import type { BackupHeader, ChainTarget } from './types.ts'

interface Crossing {
  readonly parent: string
  /** Nothing on the parent after this LSN belongs to the child. */
  readonly point: Lsn
}

/** The recovery paths of one database, the one first whose end is most likely meant. */
export function* recoveryPaths(backups: readonly BackupHeader[], target: ChainTarget): Generator<RecoveryPath> {
  const forks = orderedForks(backups, target)
  if (forks.length === 0 && target.forkGuid === undefined) yield new RecoveryPath(undefined, backups, backups)
  const crossings = findCrossings(backups)
  for (const fork of forks)
    yield new RecoveryPath(fork, backups.filter(leadsTo(fork, crossings, familyOf(fork, backups))), backups)
}

/** Whether a backup is on the path that ends with `fork`: on the fork itself, or before it left its parent, and so on. */
function leadsTo(fork: string, crossings: ReadonlyMap<string, Crossing>, family: string | undefined) {
  const limits = new Map<string, Lsn | undefined>([[fork, undefined]])
  for (let next = crossings.get(fork); next && !limits.has(next.parent); next = crossings.get(next.parent))
    limits.set(next.parent, next.point)
  return ({ lastForkGuid, lastLsn, familyGuid }: BackupHeader): boolean => {
    if (family !== undefined && familyGuid !== undefined && familyGuid !== family) return false
    if (lastForkGuid === undefined) return true
    if (!limits.has(lastForkGuid)) return false
    const limit = limits.get(lastForkGuid)
    return limit === undefined || lastLsn <= limit
  }
}

const familyOf = (fork: string, backups: readonly BackupHeader[]): string | undefined =>
  backups.find(({ lastForkGuid, familyGuid }) => lastForkGuid === fork && familyGuid !== undefined)?.familyGuid

/** Log backups that begin on one path and end on another show where the second one left the first. */
function findCrossings(backups: readonly BackupHeader[]): Map<string, Crossing> {
  const crossings = new Map<string, Crossing>()
  let forkBefore: ReturnType<typeof forkBeforeLog> | undefined
  for (const backup of backups) {
    const { kind, lastForkGuid: child, forkPointLsn, firstLsn } = backup
    if (kind !== 'log' || child === undefined) continue
    forkBefore ??= backup.firstForkGuid === undefined ? forkBeforeLog(backups) : undefined
    const parent = backup.firstForkGuid ?? forkBefore?.(backup)
    if (parent === undefined || parent === child) continue
    // Such a log begins where the last one before the fork ended, so its own begin is certainly not after the fork.
    const point = forkPointLsn ?? firstLsn
    const known = crossings.get(child)
    if (!known || point > known.point) crossings.set(child, { parent, point })
  }
  return crossings
}

/**
 * Backup files may tell only the path at the end of a backup. Then a log that continues a log of one other path, and
 * none of its own, is taken as one that crosses.
 */
function forkBeforeLog(backups: readonly BackupHeader[]): (log: BackupHeader) => string | undefined {
  const endsAt = new Map<Lsn, Set<string>>()
  for (const { kind, lastForkGuid, lastLsn, firstLsn } of backups) {
    if (kind !== 'log' || lastForkGuid === undefined || firstLsn === lastLsn) continue
    const forks = endsAt.get(lastLsn) ?? new Set()
    endsAt.set(lastLsn, forks.add(lastForkGuid))
  }
  return ({ firstLsn }) => {
    const [only, ...more] = endsAt.get(firstLsn) ?? []
    return more.length === 0 ? only : undefined
  }
}

/**
 * For a time, the path comes first whose log was backed up soonest after it: that path was in use then, those that left
 * it earlier were not there yet, and those it came from were given up. Else the path with the newest backup.
 */
function orderedForks(backups: readonly BackupHeader[], { at, forkGuid }: ChainTarget): string[] {
  const wanted = at === undefined ? undefined : parseLocalTime(at)
  const ranks = new Map<string, number>()
  let isComplete = true
  for (const { kind, lastForkGuid, startedAt, finishedAt } of backups) {
    if (lastForkGuid === undefined) {
      isComplete &&= kind !== 'log'
      continue
    }
    const known = ranks.get(lastForkGuid) ?? TOO_EARLY
    ranks.set(lastForkGuid, Math.min(known, rank(kind, startedAt, finishedAt, wanted)))
  }
  if (forkGuid !== undefined) return ranks.has(forkGuid) ? [forkGuid] : []
  const ordered = [...ranks].sort(([a, left], [b, right]) => left - right || (a < b ? -1 : 1))
  // A path without a log after the time cannot reach it; the first one is kept to explain that.
  const useful = isComplete ? ordered.filter(([, one], index) => index === 0 || one < TOO_EARLY) : ordered
  return useful.map(([fork]) => fork)
}

const TOO_EARLY = Number.MAX_VALUE

function rank(kind: string, startedAt: string, finishedAt: string, wanted: LocalMs | undefined): number {
  if (wanted === undefined) return -parseLocalTime(finishedAt)
  const started = parseLocalTime(startedAt)
  return kind === 'log' && started >= wanted ? started : TOO_EARLY
}
