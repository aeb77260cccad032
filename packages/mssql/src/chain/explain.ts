import { parseLocalTime } from '../server-time.ts'
import type { LogCoverage } from './coverage.ts'
import { baseOf, type RecoveryPath } from './path.ts'
import { stopCondition } from './target.ts'
import type { BackupHeader, ChainPlan, ChainTarget } from './types.ts'

/** What a plan leaves out, and why. */
export function explain(
  all: readonly BackupHeader[],
  path: RecoveryPath,
  plan: Omit<ChainPlan, 'explanations'>,
  target: ChainTarget,
): string[] {
  const sentences = [...aboutBaseless(path), ...aboutOtherPaths(all, path)]
  if (plan.full.copyOnly)
    sentences.push(`The full ${where(plan.full)} is copy-only; logs can continue it all the same.`)
  if (target.at === undefined && target.lsn === undefined) {
    const gap = aboutGap(path.coverage, plan.reaches.lsn)
    if (gap) sentences.push(gap)
  }
  const forks = [plan.full, ...plan.logs].map(({ lastForkGuid }) => lastForkGuid).filter((fork) => fork !== undefined)
  if (new Set(forks).size > 1)
    sentences.push('Within these logs the database was restored to an earlier moment; what that undid stays undone.')
  if (target.mark && target.mark.after === undefined)
    sentences.push('Without a time the restore stops at the first mark of this name, counted from the chosen full.')
  return sentences
}

/** Why no plan reaches the target. */
export function explainFailure(
  all: readonly BackupHeader[],
  path: RecoveryPath | undefined,
  target: ChainTarget,
): string[] {
  if (!path) return [`There is no backup on the recovery path ${target.forkGuid}.`]
  const { starts, coverage } = path
  const sentences: string[] = []
  if (starts.length === 0) sentences.push('There is no full backup on this recovery path.')
  const wanted = target.at ?? target.mark?.after
  const early = starts.filter(({ lsn, finished }) =>
    wanted !== undefined ? finished <= parseLocalTime(wanted) : target.lsn === undefined || lsn <= target.lsn,
  )
  const [newest] = early
  if (starts.length > 0 && !newest) {
    const first = starts.reduce((a, b) => (b.finished < a.finished ? b : a))
    sentences.push(`The earliest usable backup, ${where(first.full)}, was finished at ${first.full.finishedAt} only.`)
  }
  if (newest) {
    const reached = coverage.reach(newest.lsn)
    const gap = aboutGap(coverage, reached)
    const last = newest.differential ?? newest.full
    const stop = coverage.walk(newest.lsn, stopCondition(target)).at(-1)
    if (stop?.hasBulkLoggedData && stopCondition(target)(stop))
      sentences.push(`${where(stop)} holds minimally logged work: it can be restored as a whole only.`)
    else if (gap) sentences.push(gap)
    else if (reached === newest.lsn) sentences.push(`No log backup continues ${where(last)}.`)
    else sentences.push(`The last log backup of this chain ends at ${reached}; one that began later is needed.`)
  }
  return [...sentences, ...aboutBaseless(path), ...aboutOtherPaths(all, path)]
}

function aboutGap(coverage: LogCoverage, reached: bigint): string | undefined {
  const next = coverage.afterGap(reached)
  return (
    next &&
    `A log backup is missing: the chain ends at ${reached}, and the next log, ${where(next)}, begins at ${next.firstLsn}.`
  )
}

/** Differentials whose full is not here, or was copy-only. */
function aboutBaseless({ backups, baseless }: RecoveryPath): string[] {
  const [first] = baseless
  if (!first) return []
  const more = baseless.length > 1 ? ` So are ${baseless.length - 1} more.` : ''
  const copy = backups.find(
    ({ kind, copyOnly, checkpointLsn }) => kind === 'full' && copyOnly && checkpointLsn === baseOf(first),
  )
  const reason = copy
    ? `the full with its checkpoint LSN ${baseOf(first)} is copy-only`
    : `its base, the full with the checkpoint LSN ${baseOf(first)}, is not among these backups`
  return [`The differential ${where(first)} is of no use: ${reason}.${more}`]
}

function aboutOtherPaths(all: readonly BackupHeader[], path: RecoveryPath): string[] {
  const left = all.length - path.backups.length
  if (left === 0) return []
  const family = path.backups.find(({ familyGuid }) => familyGuid !== undefined)?.familyGuid
  const foreign = all.filter(
    ({ familyGuid }) => family !== undefined && familyGuid !== undefined && familyGuid !== family,
  )
  const sentences: string[] = []
  if (left > foreign.length)
    sentences.push(
      `${left - foreign.length} backups are on another recovery path: the database was restored in between.`,
    )
  if (foreign.length > 0) sentences.push(`${foreign.length} backups are of another database of the same name.`)
  return sentences
}

const where = ({ files, set }: BackupHeader): string => `${files.join(' + ')}${set > 1 ? ` (backup ${set})` : ''}`
