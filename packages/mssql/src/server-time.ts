import { BackupError } from '@taskflow-backup/core'

/**
 * Times of SQL Server that have no zone. As numbers here they are milliseconds "since 1970" of the server's wall clock,
 * which jumps when daylight saving begins or ends.
 */
export type LocalMs = number

const MINUTE = 60_000

/** Reads `YYYY-MM-DDTHH:MM:SS[.fff…]`, also with a space in place of the T. Digits after milliseconds are cut off. */
export function parseLocalTime(text: string): LocalMs {
  const found = LOCAL_TIME.exec(text)
  // Date.parse takes the 30th of February for the 2nd of March.
  const isDay = found && Number(found[3]) <= (Number(found[3]) < 29 ? 28 : daysIn(Number(found[1]), Number(found[2])))
  const ms = isDay ? Date.parse(`${found[1]}-${found[2]}-${found[3]}T${found[4]}.${millis(found[5])}Z`) : Number.NaN
  if (Number.isNaN(ms))
    throw new BackupError('OPTIONS_INVALID', `${JSON.stringify(text)} is no local time YYYY-MM-DDTHH:MM:SS.mmm.`)
  return ms
}

const LOCAL_TIME = /^(\d{4})-(\d\d)-(\d\d)[T ]((?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d{1,7}))?$/

const millis = (digits = ''): string => digits.padEnd(3, '0').slice(0, 3)

const daysIn = (year: number, month: number): number => new Date(Date.UTC(year, month, 0)).getUTCDate()

/** `YYYY-MM-DDTHH:MM:SS.mmm`, the form that `restoreStatement` takes. */
export const formatLocalTime = (ms: LocalMs): string => new Date(ms).toISOString().slice(0, 23)

/**
 * The last time at or before this one that the server's type `datetime` holds, which counts in 1/300 s and rounds what
 * it is given to the nearest: without this a restore could stop after the moment that was asked for.
 */
export const floorToDatetime = (ms: number): number => Math.round((Math.floor((ms * 3) / 10) * 10) / 3)

/** What the server's clock was ahead of UTC at some moment. */
export interface OffsetSample {
  /** Milliseconds since 1970, UTC. */
  readonly at: number
  readonly offsetMinutes: number
}

/** A moment for STOPAT. */
export interface StopTime {
  /** Local time of the server, never after the moment that was asked for. */
  readonly stopAt: string
  /** False: the server's clock changed within the log, and the restore may stop up to that change too early. */
  readonly isExact: boolean
}

/**
 * What to give STOPAT for a moment in one log. The times in a log are wall clock times, and a restore stops at the first
 * one that is later. When the clock was changed within this log, one wall clock time can be two moments; then the
 * earlier one is taken, so that nothing later than asked is restored.
 *
 * @param moment - milliseconds since 1970, UTC
 * @param before - the clock when the log begins: after the backup before it
 * @param after - the clock when the log was backed up
 */
export function stopTime(moment: number, before: OffsetSample, after: OffsetSample): StopTime {
  const offset = Math.min(before.offsetMinutes, after.offsetMinutes)
  return {
    stopAt: formatLocalTime(floorToDatetime(moment + offset * MINUTE)),
    isExact: before.offsetMinutes === after.offsetMinutes,
  }
}

/**
 * Whether a log can hold anything later than a moment, and so needs a STOPAT. A log that cannot must not have one: if
 * the clock was set back within it, its wall clock times may be later than that of a moment long after it.
 *
 * @param moment - milliseconds since 1970, UTC
 * @param begun - the server's clock, UTC, before the log backup began
 * @param tookMs - how long the log backup took at most, by any clock
 */
export const mayHoldLater = (moment: number, begun: number, tookMs: number): boolean => moment <= begun + tookMs

/** What a zone of the IANA database, like `Europe/Berlin`, is ahead of UTC at a moment, in minutes. */
export function zoneOffsetMinutes(timeZone: string, moment: number): number {
  const parts = new Map(
    zoneFormat(timeZone)
      .formatToParts(moment)
      .map(({ type, value }) => [type, value]),
  )
  const part = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type))
  const local = Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'), part('second'))
  return Math.round((local - Math.floor(moment / 1000) * 1000) / MINUTE)
}

/**
 * The moments (milliseconds since 1970, UTC) at which clocks of a zone showed this local time, earliest first: one, two
 * in the hour that is repeated when daylight saving ends, none in the hour that is left out when it begins.
 */
export function momentsOfLocalTime(local: LocalMs, timeZone: string): readonly number[] {
  const day = 24 * 60 * MINUTE
  const offsets = new Set([-day, 0, day].map((shift) => zoneOffsetMinutes(timeZone, local + shift)))
  return [...offsets]
    .map((offset) => local - offset * MINUTE)
    .filter((moment) => moment + zoneOffsetMinutes(timeZone, moment) * MINUTE === local)
    .sort((a, b) => a - b)
}

const formats = new Map<string, Intl.DateTimeFormat>()

function zoneFormat(timeZone: string): Intl.DateTimeFormat {
  let format = formats.get(timeZone)
  if (!format) {
    try {
      format = new Intl.DateTimeFormat('en-US', {
        timeZone,
        hourCycle: 'h23',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
        second: 'numeric',
      })
    } catch (thrown) {
      throw new BackupError('OPTIONS_INVALID', `${JSON.stringify(timeZone)} is no time zone.`, { cause: thrown })
    }
    formats.set(timeZone, format)
  }
  return format
}
