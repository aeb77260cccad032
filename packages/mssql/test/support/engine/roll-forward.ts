import type { BackupHeader, BackupSet } from './backup-set.ts'
import { toDatetime } from './clock.ts'
import type { Database, LogRecord } from './database.ts'
import { fail } from './errors.ts'
import type { Options } from './statements.ts'

/** Where a restore of a log is to end. */
export interface StopPoint {
  /** Local time of the server, ms. */
  readonly at?: number
  readonly mark?: { readonly name: string; readonly after: number; readonly inclusive: boolean }
}

/** Of the options of RESTORE. */
export function stopPointOf(options: Options): StopPoint {
  const at = options.get('STOPAT')
  if (at !== undefined) return { at: timeOf(at) }
  for (const [option, inclusive] of [
    ['STOPATMARK', true],
    ['STOPBEFOREMARK', false],
  ] as const) {
    const name = options.get(option)
    const after = options.get('AFTER')
    if (name !== undefined)
      return { mark: { name: String(name), after: after === undefined ? 0 : timeOf(after), inclusive } }
  }
  return {}
}

function timeOf(text: string | number | true): number {
  const at = Date.parse(`${String(text).replace(' ', 'T')}Z`)
  if (Number.isNaN(at)) throw fail(241, 'Conversion failed when converting date and/or time from character string.')
  return toDatetime(at)
}

/**
 * Checks whether the log can be applied and returns what applies it, which tells whether the stop point was reached.
 *
 * @throws 4305, 4326, 4330, 4335
 */
export function applyLog(database: Database, { header, log }: BackupSet, stop: StopPoint): () => boolean {
  const { rollForward } = database
  if (!rollForward) throw new Error('a database that cannot be rolled forward')
  mustFit(header, rollForward.lsn)
  mustBeOnPath(header, rollForward.lsn, rollForward.forkGuid)
  if (stop.at !== undefined && rollForward.at > stop.at)
    throw fail(
      4335,
      'The specified STOPAT time is too early. All or part of the database is already rolled forward beyond that point.',
    )
  return () => {
    const { applied, next, reached } = upTo(log, stop)
    for (const record of applied) if (record.lsn >= rollForward.lsn) database.redo(record)
    const lsn = next?.lsn ?? header.lastLsn
    database.rollForward = {
      lsn,
      at: Math.max(rollForward.at, applied.at(-1)?.at ?? 0),
      forkGuid:
        header.forkPointLsn !== undefined && lsn <= header.forkPointLsn ? header.firstForkGuid : header.lastForkGuid,
    }
    database.nextLsn = lsn
    return reached
  }
}

function mustFit({ firstLsn, lastLsn }: BackupHeader, lsn: bigint): void {
  if (firstLsn > lsn)
    throw fail(
      4305,
      `The log in this backup set begins at LSN ${firstLsn}, which is too recent to apply to the database. An earlier log backup that includes LSN ${lsn} can be restored.`,
    )
  if (lastLsn < lsn)
    throw fail(
      4326,
      `The log in this backup set terminates at LSN ${lastLsn}, which is too early to apply to the database. A more recent log backup that includes LSN ${lsn} can be restored.`,
    )
}

function mustBeOnPath({ forkPointLsn, firstForkGuid, lastForkGuid }: BackupHeader, lsn: bigint, fork: string): void {
  const path = forkPointLsn !== undefined && lsn <= forkPointLsn ? firstForkGuid : lastForkGuid
  if (path !== fork)
    throw fail(
      4330,
      'This backup set cannot be applied because it is on a recovery path that is inconsistent with the database. The recovery path is the sequence of data and log backups that have brought the database to a particular recovery point. Find a compatible backup to restore, or restore the rest of the database to match a recovery point within this backup set. For more information about recovery paths, see SQL Server Books Online.',
    )
}

/** The records to apply, and the first one that is not. */
function upTo(
  log: readonly LogRecord[],
  { at, mark }: StopPoint,
): { readonly applied: readonly LogRecord[]; readonly next?: LogRecord; readonly reached: boolean } {
  let end = log.length
  if (at !== undefined) end = log.findIndex((record) => record.at > at)
  else if (mark) {
    const found = log.findIndex((record) => isMarked(record, mark))
    end = found < 0 ? found : found + (mark.inclusive ? 1 : 0)
  }
  if (end < 0) return { applied: log, reached: false }
  const next = log[end]
  return { applied: log.slice(0, end), reached: true, ...(next && { next }) }
}

function isMarked({ lsn, mark, at }: LogRecord, { name, after }: NonNullable<StopPoint['mark']>): boolean {
  return /^lsn:/i.test(name) ? lsn === BigInt(name.slice(4)) : mark === name && at >= after
}
