import type { BackupAdapter } from '../contracts/adapter.ts'
import type { Manifest } from '../contracts/backup.ts'

/** A log backup as the planner sees it. */
export interface MergeCandidate {
  readonly id: string
  /** How many times its oldest content was merged; 0 for a log as it was made. */
  readonly level: number
  /** Whether moments were taken out of it. */
  readonly thinned: boolean
  readonly consistentAt: Date
  readonly plainBytes: number
  /** Whether a merged log can have its place: the time just after its own in the chain is free. */
  readonly canBeLast: boolean
}

export interface MergeSettings {
  /** Logs that become one of the next level. */
  readonly most: number
  /** No log of several becomes larger than this. */
  readonly mostBytes: number
  /** What is wholly older is thinned; nothing is without it. */
  readonly thinBefore?: Date
}

/** Fewer that are too large together for more are not worth writing anew: that costs by the byte, and spares logs. */
const FEWEST = 8

/** Logs that become one, oldest first. */
export interface MergeRun {
  readonly ids: readonly string[]
  readonly level: number
  readonly thin: boolean
}

/**
 * Which logs become one. Like the digits of a number: `most` of a level become one of the next, so that each byte is
 * written a few times in all, and the number of logs grows with the logarithm of how many were made. A log of a low
 * level between higher ones counts as one of theirs.
 *
 * `neighbours` follow on one another without a gap, oldest first. With the result of each run in the place of its logs,
 * planning again and again ends soon.
 */
export function planMerges(neighbours: readonly MergeCandidate[], settings: MergeSettings): MergeRun[] {
  const { most, mostBytes, thinBefore } = settings
  const levels: number[] = []
  for (const { level } of [...neighbours].reverse()) levels.unshift(Math.max(level, levels[0] ?? 0))
  const runs: MergeRun[] = []
  let group: MergeCandidate[] = []
  let groupOf = ''
  let groupLevel = 0
  let thin = false

  /** Makes a run of the group; gives back what at its end cannot be the last of one. */
  const close = (): MergeCandidate[] => {
    const count = group.findLastIndex(({ canBeLast }) => canBeLast) + 1
    const ids = group.slice(0, count).map(({ id }) => id)
    // Of those that are thinned, one alone as it was made has too few moments.
    const worth = thin
      ? ids.length > 1 || (ids.length === 1 && (group[0]?.level ?? 0) > 0)
      : ids.length >= Math.min(most, FEWEST)
    if (worth) runs.push({ ids, level: groupLevel + (ids.length > 1 ? 1 : 0), thin })
    return worth ? group.slice(count) : []
  }
  const isFull = (next?: MergeCandidate): boolean =>
    group.length >= most ||
    [...group, ...(next ? [next] : [])].reduce((sum, one) => sum + one.plainBytes, 0) > mostBytes

  for (const [index, candidate] of neighbours.entries()) {
    const level = levels[index] as number
    const old = thinBefore !== undefined && !candidate.thinned && candidate.consistentAt < thinBefore
    const kind = old ? 'old' : `${candidate.thinned} ${level}`
    if (kind !== groupOf) {
      if (thin || isFull()) close()
      group = []
    } else while (group.length > 0 && isFull(candidate)) group = close()
    groupOf = kind
    groupLevel = thin && group.length > 0 ? Math.max(groupLevel, level) : level
    thin = old
    group.push(candidate)
  }
  if (thin || isFull()) close()
  return runs
}

/** What a log that was merged by core says about itself. */
export interface MergeFacts {
  readonly level: number
  readonly thinned: boolean
  /** How far apart its moments were left. */
  readonly thinnedToMs?: number
}

/** Reads it from the manifest; a log as it was made has level 0. */
export function mergeFactsOf({ source: { details } }: Manifest): MergeFacts {
  const { level, thinnedToMs } = details ?? {}
  return {
    level: typeof level === 'number' ? level : 0,
    thinned: typeof thinnedToMs === 'number',
    ...(typeof thinnedToMs === 'number' && { thinnedToMs }),
  }
}

/**
 * Logs whose range a merged one covers, each with the id of that one: what it was made of, and could not be removed
 * when it was.
 */
export function supersededLogs(
  { comparePositions }: Pick<BackupAdapter, 'comparePositions'>,
  logs: readonly Manifest[],
): Map<string, string> {
  const gone = new Map<string, string>()
  let longest: Manifest | undefined
  const byBegin = [...logs].sort(
    (a, b) =>
      comparePositions(beginOf(a), beginOf(b)) ||
      comparePositions(b.position.end, a.position.end) ||
      Number(isMerged(b)) - Number(isMerged(a)) ||
      (a.id < b.id ? 1 : -1),
  )
  for (const log of byBegin) {
    const beyond = longest ? comparePositions(log.position.end, longest.position.end) : 1
    if (longest && beyond <= 0 && log.consistentAt <= longest.consistentAt) gone.set(log.id, longest.id)
    // Only a merged log says that it stands for others.
    else if (isMerged(log) && beyond >= 0) longest = log
  }
  return gone
}

/** Logs in runs without a gap or an overlap, oldest first. */
export function neighboursOf(
  { comparePositions }: Pick<BackupAdapter, 'comparePositions'>,
  logs: readonly Manifest[],
): Manifest[][] {
  const runs: Manifest[][] = []
  const inOrder = [...logs].sort(
    (a, b) =>
      comparePositions(beginOf(a), beginOf(b)) ||
      comparePositions(a.position.end, b.position.end) ||
      (a.id < b.id ? -1 : 1),
  )
  for (const log of inOrder) {
    const last = runs.at(-1)?.at(-1)
    if (last && comparePositions(last.position.end, beginOf(log)) === 0) runs.at(-1)?.push(log)
    else runs.push([log])
  }
  return runs
}

const beginOf = ({ position: { begin, end } }: Manifest): string => begin ?? end
const isMerged = (log: Manifest): boolean => typeof log.source.details?.level === 'number'
