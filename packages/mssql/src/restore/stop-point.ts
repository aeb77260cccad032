import { BackupError } from '@taskflow-backup/core'
import { type Lsn, parseLsn } from '../lsn.ts'
import { MAX_NAME } from '../statements/quote.ts'

// A type, not an interface: those are no `JsonValue`, which `to` is.
/** What `to` of a restore takes besides the name of a database: where to stop, when that is no moment. */
export type MssqlRestoreTarget = {
  /** Name of the database on the server that the adapter is connected to. */
  readonly database: string
  /** Name of a transaction that was begun WITH MARK, as it was written. It is the last one that is restored. */
  readonly stopAtMark?: string
  /** Log sequence number, decimal, as `msdb` shows it. Its log record is the last one that is restored. */
  readonly stopAtLsn?: string
  /** Stop just before the mark or log record, without it. Default: false. */
  readonly before?: boolean
  /**
   * With `stopAtMark`: the first transaction of this name that was committed then or later. ISO 8601 with a zone, for
   * example `2026-11-22T14:03:11Z`. Default: there may be only one of this name.
   */
  readonly after?: string
}

/** Where inside the logs a restore is to end. */
export type StopPoint =
  | { readonly kind: 'time'; readonly at: Date }
  | { readonly kind: 'mark'; readonly mark: string; readonly before: boolean; readonly after?: Date }
  | { readonly kind: 'lsn'; readonly lsn: Lsn; readonly before: boolean }

const KNOWN = ['database', 'stopAtMark', 'stopAtLsn', 'before', 'after']
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,7})?)?(Z|[+-]\d\d:\d\d)$/

/**
 * Reads what was given as `to`.
 *
 * @throws `TARGET_INVALID` naming what is wrong
 */
export function readTarget(
  to: unknown,
  at: Date | undefined,
): { readonly database: unknown; readonly stop?: StopPoint } {
  const time = at && ({ kind: 'time', at } as const)
  if (typeof to !== 'object' || to === null || Array.isArray(to)) return { database: to, ...(time && { stop: time }) }
  const unknown = Object.keys(to).find((name) => !KNOWN.includes(name))
  if (unknown !== undefined) throw invalid(`\`to.${unknown}\` is not known`)
  const { database, stopAtMark, stopAtLsn, before = false, after } = to as Partial<MssqlRestoreTarget>
  if (typeof before !== 'boolean') throw invalid('`to.before` must be true or false')
  if ([at, stopAtMark, stopAtLsn].filter((one) => one !== undefined).length > 1)
    throw invalid('`at`, `to.stopAtMark` and `to.stopAtLsn` exclude each other')
  if (after !== undefined && stopAtMark === undefined) throw invalid('`to.after` goes with `to.stopAtMark`')
  if (before && stopAtMark === undefined && stopAtLsn === undefined)
    throw invalid('`to.before` goes with `to.stopAtMark` or `to.stopAtLsn`')
  if (stopAtMark !== undefined) return { database, stop: markStop(stopAtMark, before, after) }
  if (stopAtLsn !== undefined) return { database, stop: { kind: 'lsn', lsn: lsnOf(stopAtLsn), before } }
  return { database, ...(time && { stop: time }) }
}

function markStop(mark: string, before: boolean, after: string | undefined): StopPoint {
  // What begins with lsn: the server would read as a log sequence number.
  const isName = typeof mark === 'string' && mark.length > 0 && mark.length <= MAX_NAME && !/^lsn:/i.test(mark)
  if (!isName || mark.includes('\0') || /\\\r?\n/.test(mark))
    throw invalid(`\`to.stopAtMark\` must be the name of a marked transaction, of 1 to ${MAX_NAME} characters`)
  if (after === undefined) return { kind: 'mark', mark, before }
  const moment = new Date(typeof after === 'string' && MOMENT.test(after) ? after : Number.NaN)
  if (Number.isNaN(moment.getTime()))
    throw invalid('`to.after` must be a time with its zone, like 2026-11-22T14:03:11Z')
  return { kind: 'mark', mark, before, after: moment }
}

function lsnOf(text: string): Lsn {
  try {
    return parseLsn(text)
  } catch (thrown) {
    throw invalid(`\`to.stopAtLsn\`: ${(thrown as Error).message}`)
  }
}

const invalid = (why: string): BackupError =>
  new BackupError('TARGET_INVALID', `The place to restore to is bad: ${why.replace(/\.$/, '')}.`)
