import type { CatalogEntry } from '../contracts/backup.ts'
import type { RetentionPolicy } from '../contracts/policy.ts'
import { BackupError } from '../errors.ts'
import { type Calendar, type CalendarUnit, createCalendar } from './calendar.ts'
import { checkOptionNames } from './check-options.ts'
import { decideByFull } from './follow-full.ts'
import { fullsNewestFirst } from './order.ts'

/** Counts of {@link keepCounts}: whole numbers from 0; -1 is without limit. Default of each: 0. */
export interface KeepCountsOptions {
  /** For so many hours that have a full, keep the newest. */
  readonly hourly?: number
  /** For so many days that have a full, keep the newest. */
  readonly daily?: number
  /** For so many ISO weeks that have a full, keep the newest. */
  readonly weekly?: number
  /** For so many months that have a full, keep the newest. */
  readonly monthly?: number
  /** For so many years that have a full, keep the newest. */
  readonly yearly?: number
  /** IANA name of the zone that says where hours, days, weeks, months and years begin. Default: `'UTC'`. */
  readonly timeZone?: string
}

const RULES = [
  ['hourly', 'hour'],
  ['daily', 'day'],
  ['weekly', 'week'],
  ['monthly', 'month'],
  ['yearly', 'year'],
] as const satisfies readonly (readonly [string, CalendarUnit])[]

/**
 * Keeps the newest full of so many hours, days, weeks, months and years, as `restic forget --keep-daily` does.
 *
 * Only units that have a backup count. While a rule has count left, the oldest full is kept as well. Fulls in the
 * future use up counts. Differentials and logs are kept with their full. Unlike with `keepWithin`, the result may
 * depend on how often one prunes, and a burst of backups shortens the history.
 *
 * @throws `OPTIONS_INVALID` when every count is 0, or an option is malformed, unknown or `undefined`
 *
 * @example
 * ```ts
 * import { keepCounts } from '@taskflow-backup/core'
 *
 * const retention = keepCounts({ daily: 7, weekly: 5, monthly: 12, yearly: -1 })
 * console.log(retention([], new Date())) // []
 * ```
 */
export function keepCounts(options: KeepCountsOptions): RetentionPolicy {
  checkOptionNames(options, [...RULES.map(([name]) => name), 'timeZone'], 'keepCounts')
  const counts = RULES.map(([name, unit]) => ({ unit, count: readCount(name, options[name] ?? 0) }))
  if (counts.every(({ count }) => count === 0)) {
    throw new BackupError('OPTIONS_INVALID', 'keepCounts has no count that keeps anything.', {
      hint: 'Give at least one of hourly, daily, weekly, monthly and yearly; -1 keeps them without limit.',
    })
  }
  const calendar = createCalendar(options.timeZone ?? 'UTC')
  return (backups) => {
    const fulls = fullsNewestFirst(backups)
    return decideByFull(backups, countDown(fulls, counts, calendar), 'beyond every count')
  }
}

/** Reasons to keep, by id. `fulls` are newest first. */
function countDown(
  fulls: readonly CatalogEntry[],
  counts: readonly { readonly unit: CalendarUnit; readonly count: number }[],
  calendar: Calendar,
): Map<string, string[]> {
  const rules = counts.map(({ unit, count }) => ({ unit, left: count === -1 ? Infinity : count, last: NaN }))
  const kept = new Map<string, string[]>()
  for (const [index, full] of fulls.entries()) {
    const oldest = index === fulls.length - 1
    const reasons: string[] = []
    for (const rule of rules) {
      if (rule.left === 0) continue
      const bucket = calendar.bucketOf(full.startedAt.getTime(), rule.unit)
      const fresh = bucket !== rule.last
      if (!fresh && !oldest) continue
      rule.last = bucket
      rule.left -= 1
      const label = `${rule.unit} ${calendar.labelOf(bucket, rule.unit)}`
      reasons.push(fresh ? `newest of ${label}` : `oldest of all, with ${rule.unit}s left to count`)
    }
    if (reasons.length > 0) kept.set(full.id, reasons)
  }
  return kept
}

function readCount(name: string, count: number): number {
  if (Number.isInteger(count) && count >= -1) return count
  throw new BackupError('OPTIONS_INVALID', `keepCounts ${name} is not a whole number from -1: ${String(count)}.`, {
    hint: 'Give how many to keep, 0 for none, or -1 for no limit.',
  })
}
