import { BackupError } from '@taskflow-backup/core'
import { explain, explainFailure } from './chain/explain.ts'
import { recoveryPaths } from './chain/forks.ts'
import type { DataStart, RecoveryPath } from './chain/path.ts'
import { checkTarget, describeTarget, stopCondition } from './chain/target.ts'
import type { BackupHeader, ChainPlan, ChainTarget } from './chain/types.ts'
import { floorToDatetime, formatLocalTime, parseLocalTime } from './server-time.ts'

export type { BackupHeader, ChainPlan, ChainTarget } from './chain/types.ts'

/**
 * Chooses what to restore, in which order: the latest full, and the latest differential based on it, from which an
 * unbroken chain of logs leads to the target. Chains are followed by log sequence number and recovery path; times only
 * tell where to stop, and count strictly: a backup is used only when nothing in it can be later than `target.at`, and
 * the target is reached only when a log backup within the chain began at that time or later.
 *
 * @param headers - in any order, also with repetitions, of one or several databases
 * @throws `OPTIONS_INVALID` for a bad target, or when the headers are of several databases and the target names none
 * @throws `BACKUP_NOT_FOUND` when there is no full backup at all
 * @throws `POINT_UNREACHABLE` with the gap, the missing base or the other recovery path that is in the way; `details`
 *   has every explanation
 */
export function planChain(headers: readonly BackupHeader[], target: ChainTarget = {}): ChainPlan {
  checkTarget(target)
  const backups = ofOneDatabase(headers, target.database)
  const database = backups[0]?.database ?? target.database ?? ''
  if (!backups.some(({ kind }) => kind === 'full')) {
    throw new BackupError('BACKUP_NOT_FOUND', `There is no full backup of the database ${JSON.stringify(database)}.`)
  }
  let first: RecoveryPath | undefined
  for (const path of recoveryPaths(backups, target)) {
    first ??= path
    const plan = planPath(path, target)
    if (plan) return { ...plan, explanations: explain(backups, path, plan, target) }
  }
  const details = explainFailure(backups, first, target)
  throw new BackupError(
    'POINT_UNREACHABLE',
    `The backups of ${JSON.stringify(database)} do not reach ${describeTarget(target)}: ${details.join(' ')}`,
    { details },
  )
}

function planPath(path: RecoveryPath, target: ChainTarget): Omit<ChainPlan, 'explanations'> | undefined {
  const start = chooseStart(path, target)
  if (!start) return undefined
  const logs = path.coverage.walk(start.lsn, stopCondition(target))
  const last = logs.at(-1)
  // The server stops inside a log only if all of its work was fully logged.
  if ((target.at !== undefined || target.lsn !== undefined) && last?.hasBulkLoggedData) return undefined
  const { full, differential } = start
  const lsn = last?.lastLsn ?? start.lsn
  return {
    full,
    ...(differential && { differential }),
    logs,
    ...(target.at !== undefined && { stopAt: formatLocalTime(floorToDatetime(parseLocalTime(target.at))) }),
    ...(target.lsn !== undefined && { stopAtLsn: target.lsn }),
    ...(target.mark && { stopAtMark: target.mark }),
    reaches: { lsn, at: target.at ?? reachedTime(start, last, path) },
  }
}

/** The latest start from which the target is reached; for a mark of unknown time the earliest, so as not to miss it. */
function chooseStart(path: RecoveryPath, { at, lsn, mark }: ChainTarget): DataStart | undefined {
  const { starts } = path
  if (at !== undefined) {
    const wanted = parseLocalTime(at)
    return starts.find((start) => start.finished <= wanted && (path.coverage.provenUntil(start.lsn) ?? 0) >= wanted)
  }
  if (lsn !== undefined) return starts.find((start) => start.lsn <= lsn && path.coverage.reach(start.lsn) > lsn)
  if (mark) {
    const latest = mark.after === undefined ? Number.POSITIVE_INFINITY : parseLocalTime(mark.after)
    const newest = starts.find((start) => start.finished <= latest && path.coverage.reach(start.lsn) > start.lsn)
    if (!newest || mark.after !== undefined) return newest
    const end = path.coverage.reach(newest.lsn)
    return starts.findLast((start) => path.coverage.reach(start.lsn) === end)
  }
  return starts[0]
}

function reachedTime(start: DataStart, last: BackupHeader | undefined, { coverage }: RecoveryPath): string {
  const finished = parseLocalTime((start.differential ?? start.full).finishedAt)
  return formatLocalTime(Math.max(finished, coverage.provenUntil(last?.lastLsn ?? start.lsn) ?? finished))
}

/** Names of databases differ by case only on few servers; a folder of backups is not read as such a server's. */
function ofOneDatabase(headers: readonly BackupHeader[], wanted: string | undefined): readonly BackupHeader[] {
  const names = new Map(headers.map(({ database }) => [database.toLowerCase(), database]))
  if (wanted === undefined && names.size > 1) {
    const list = [...names.values()].map((name) => JSON.stringify(name)).join(', ')
    throw new BackupError('OPTIONS_INVALID', `These are backups of several databases: ${list}. Name one of them.`)
  }
  const name = wanted?.toLowerCase() ?? [...names.keys()][0]
  return headers.filter(({ database, firstLsn, lastLsn }) => database.toLowerCase() === name && firstLsn <= lastLsn)
}
