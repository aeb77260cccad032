import { Temporal } from 'temporal-polyfill'
import type { CalendarDuration } from './duration.ts'
import { findWindowStart } from './window-start.ts'
import { createZoneOffsets } from './zone-offsets.ts'

/** What backups are grouped by. A week is an ISO week: it begins on Monday and belongs to the year of its Thursday. */
export type CalendarUnit = 'hour' | 'day' | 'week' | 'month' | 'year'

/** The calendar of one time zone. */
export interface Calendar {
  readonly timeZone: string
  /** A number for the unit that `timeMs` (epoch) lies in: equal for two times in the same one, and for no others. */
  bucketOf(timeMs: number, unit: CalendarUnit): number
  /** The name of a bucket: `2026-11-22T14`, `2026-11-22`, `2026-W47`, `2026-11`, `2026`. */
  labelOf(bucket: number, unit: CalendarUnit): string
  /** The name of the unit that `date` lies in; see {@link Calendar.labelOf}. */
  keyOf(date: Date, unit: CalendarUnit): string
  /** `date` plus a duration, as clocks on the wall show it; a day that a month does not have becomes its last. */
  add(date: Date, duration: CalendarDuration): Date
  /** `date` minus a duration; see {@link Calendar.add}. */
  subtract(date: Date, duration: CalendarDuration): Date
  /** Where (epoch, ms) a window of `duration` that ends at `endMs` begins. A later end never begins earlier. */
  windowStart(endMs: number, duration: CalendarDuration): number
}

const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000

/**
 * Makes the calendar of a time zone (IANA name, or `UTC`).
 *
 * The hour that clocks show twice when they are set back is one bucket. Keys cost well under a microsecond once the
 * zone's offsets around a date are known.
 *
 * @throws `OPTIONS_INVALID` when the platform does not know the time zone
 *
 * @example
 * ```ts
 * import { createCalendar } from '@taskflow-backup/core'
 *
 * const calendar = createCalendar('Europe/Berlin')
 * console.log(calendar.keyOf(new Date('2026-12-31T23:30:00Z'), 'week')) // 2026-W53
 * console.log(calendar.keyOf(new Date('2026-12-31T23:30:00Z'), 'day')) // 2027-01-01
 * ```
 */
export function createCalendar(timeZone: string): Calendar {
  const offsets = createZoneOffsets(timeZone)
  const bucketOf = (timeMs: number, unit: CalendarUnit): number =>
    bucketOfLocal(timeMs + offsets.at(timeMs).offsetMs, unit)
  const zoned = (date: Date): Temporal.ZonedDateTime =>
    Temporal.Instant.fromEpochMilliseconds(date.getTime()).toZonedDateTimeISO(timeZone)

  return {
    timeZone,
    bucketOf,
    labelOf: labelOfBucket,
    keyOf: (date, unit) => labelOfBucket(bucketOf(date.getTime(), unit), unit),
    add: (date, duration) => new Date(zoned(date).add(duration).epochMilliseconds),
    subtract: (date, duration) => new Date(zoned(date).subtract(duration).epochMilliseconds),
    windowStart: (endMs, duration) => findWindowStart(offsets, endMs, duration),
  }
}

/** `localMs` is what clocks on the wall show, written as if they were UTC. */
function bucketOfLocal(localMs: number, unit: CalendarUnit): number {
  if (unit === 'hour') return Math.floor(localMs / HOUR_MS)
  const day = Math.floor(localMs / DAY_MS)
  if (unit === 'day') return day
  // Day 0 was a Thursday. Weeks are counted by their Monday, so the bucket is right across every new year.
  if (unit === 'week') return Math.floor((day + 3) / 7)
  const local = new Date(localMs)
  return unit === 'year' ? local.getUTCFullYear() : local.getUTCFullYear() * 12 + local.getUTCMonth()
}

function labelOfBucket(bucket: number, unit: CalendarUnit): string {
  switch (unit) {
    case 'hour':
      return new Date(bucket * HOUR_MS).toISOString().slice(0, -11)
    case 'day':
      return new Date(bucket * DAY_MS).toISOString().slice(0, -14)
    case 'week':
      return labelOfWeek(bucket * 7)
    case 'month':
      return `${padYear(Math.floor(bucket / 12))}-${String((bucket % 12) + 1).padStart(2, '0')}`
    case 'year':
      return padYear(bucket)
  }
}

/** `thursday` in days since 1970-01-01, which was one. */
function labelOfWeek(thursday: number): string {
  const year = new Date(thursday * DAY_MS).getUTCFullYear()
  const dayOfYear = thursday - Date.UTC(year, 0, 1) / DAY_MS
  return `${padYear(year)}-W${String(Math.floor(dayOfYear / 7) + 1).padStart(2, '0')}`
}

function padYear(year: number): string {
  return String(year).padStart(4, '0')
}
