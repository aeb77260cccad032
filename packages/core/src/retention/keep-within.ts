import type { CatalogEntry } from '../contracts/backup.ts'
import type { Decision, RetentionPolicy } from '../contracts/policy.ts'
import { type Calendar, createCalendar } from './calendar.ts'
import { type DurationInput, formatDuration, type ParsedDuration } from './duration.ts'
import { createFullDecider } from './keep-within-fulls.ts'
import { readWindows, type Windows } from './keep-within-options.ts'
import { newestFirst } from './order.ts'

/** Windows of {@link keepWithin}. All count back from the newest full backup; a rule that is absent keeps nothing. */
export interface KeepWithinOptions {
  /** Keep the newest full of every hour within this window. */
  readonly hourly?: DurationInput
  /** Keep the newest full of every day within this window. */
  readonly daily?: DurationInput
  /** Keep the newest full of every ISO week within this window. */
  readonly weekly?: DurationInput
  /** Keep the newest full of every month within this window. */
  readonly monthly?: DurationInput
  /** Keep the newest full of every year within this window. */
  readonly yearly?: DurationInput
  /** Keep every full within this window. */
  readonly all?: DurationInput
  /** Keep every log backup, and so every point in time, within this window. Default: `daily`, or the longest window. */
  readonly logs?: DurationInput
  /** Keep every differential within this window. Default: `daily`, or the longest window. */
  readonly differentials?: DurationInput
  /** IANA name of the zone that says where days, weeks, months and years begin. Default: `'UTC'`. */
  readonly timeZone?: string
}

/**
 * Keeps fulls at a spacing that widens with their age, and differentials and logs for a while.
 *
 * Windows look back from the newest full that is not in the future, not from now: when no more backups are made, no
 * more are removed. A full is kept when any rule keeps it. Backups in the future (a clock was wrong) are kept, and so
 * is everything while there is no full to count back from.
 *
 * Pruning after every backup keeps exactly what pruning once at the end keeps.
 *
 * @throws `OPTIONS_INVALID` when no rule keeps fulls, or an option is malformed, unknown or `undefined`
 *
 * @example
 * ```ts
 * import { keepWithin } from '@taskflow-backup/core'
 *
 * const retention = keepWithin({ daily: '30d', weekly: '90d', monthly: '1y', yearly: '7y', timeZone: 'Europe/Berlin' })
 * console.log(retention([], new Date())) // []
 * ```
 */
export function keepWithin(options: KeepWithinOptions): RetentionPolicy {
  const windows = readWindows(options)
  const calendar = createCalendar(windows.timeZone)
  return (backups, now) => decideWithin(windows, calendar, backups, now)
}

/**
 * What a plan without `retention` uses: one full a day for 30 days, one a week for 90 days, one a month for a year,
 * one a year for 7 years; differentials and logs for 30 days; days as UTC has them.
 */
export const defaultRetention: RetentionPolicy = keepWithin({
  daily: '30d',
  weekly: '90d',
  monthly: '1y',
  yearly: '7y',
  logs: '30d',
  differentials: '30d',
})

function decideWithin(windows: Windows, calendar: Calendar, backups: readonly CatalogEntry[], now: Date): Decision[] {
  const nowMs = now.getTime()
  const fulls = newestFirst(
    backups
      .map((entry, index) => ({ entry, index }))
      .filter(({ entry }) => entry.kind === 'full' && entry.startedAt.getTime() <= nowMs),
    ({ entry }) => entry,
  )
  const [newest] = fulls
  const endMs = newest?.entry.startedAt.getTime()
  // There is no rule "and the oldest of all, if it lies in the window", as restic has: it would make the result depend
  // on how often one prunes. With `daily: '2d'` and fulls on day 1, day 10 morning and day 10 noon, one prune at the
  // end keeps noon alone; pruning every time has removed day 1 by then, so that the morning is the oldest and stays.
  const decided = new Array<Decision | undefined>(backups.length)
  if (endMs !== undefined) {
    const decide = createFullDecider(windows, calendar, endMs)
    for (const { entry, index } of fulls) decided[index] = decide(entry)
  }
  const dependants = endMs === undefined ? undefined : startOfDependants(windows, calendar, endMs)

  return backups.map((entry, index) => {
    if (entry.startedAt.getTime() > nowMs) return keep(entry, 'lies in the future')
    if (dependants === undefined) return keep(entry, 'there is no full backup to count back from')
    return decided[index] ?? decideDependant(entry, dependants)
  })
}

/** Where the windows of what depends on a full begin (epoch), and how long they are. */
type DependantWindows = Record<'differential' | 'log', { readonly startMs: number; readonly length: string }>

function startOfDependants(windows: Windows, calendar: Calendar, endMs: number): DependantWindows {
  const begin = (window: ParsedDuration): DependantWindows['log'] => ({
    startMs: calendar.windowStart(endMs, window),
    length: formatDuration(window),
  })
  return { differential: begin(windows.differentials), log: begin(windows.logs) }
}

/** A differential or a log, which no bucket rule is about. */
function decideDependant(entry: CatalogEntry, windows: DependantWindows): Decision {
  const { startMs, length } = entry.kind === 'log' ? windows.log : windows.differential
  if (entry.startedAt.getTime() > startMs) return keep(entry, `${entry.kind} within ${length}`)
  return { id: entry.id, keep: false, reasons: [`${entry.kind} older than ${length}`] }
}

function keep(entry: CatalogEntry, reason: string): Decision {
  return { id: entry.id, keep: true, reasons: [reason] }
}
