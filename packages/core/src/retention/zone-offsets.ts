import { Temporal } from 'temporal-polyfill'
import { BackupError } from '../errors.ts'

/** A stretch of time, `fromMs` inclusive to `toMs` exclusive (epoch), in which a zone's clocks are not changed. */
export interface OffsetSpan {
  readonly fromMs: number
  readonly toMs: number
  /** Local clock minus UTC, in ms. */
  readonly offsetMs: number
  /** The same just before `fromMs`; equal to `offsetMs` when nothing is known from before. */
  readonly offsetBeforeMs: number
}

/** The offsets of one time zone. */
export interface ZoneOffsets {
  /** The span that `timeMs` (epoch) lies in. */
  at(timeMs: number): OffsetSpan
}

/**
 * Makes a table of a zone's offsets that fills itself as it is asked.
 *
 * One conversion by `Temporal` takes about 20 µs, too long for ten thousand backups in the app's own thread. But
 * offsets change twice a year at most places: so `Temporal` is asked once per stretch between two changes (about
 * 0.3 ms), and everything in between is arithmetic. This is exact, not an approximation, and the table belongs to
 * its owner: there is no global cache.
 *
 * @throws `OPTIONS_INVALID` when the platform does not know the time zone
 */
export function createZoneOffsets(timeZone: string): ZoneOffsets {
  checkZone(timeZone)
  const spans: OffsetSpan[] = [] // Ascending; with holes where nobody has asked yet.
  let last: OffsetSpan | undefined

  return {
    at(timeMs) {
      if (last !== undefined && timeMs >= last.fromMs && timeMs < last.toMs) return last
      const index = countStartedBy(spans, timeMs)
      const before = spans[index - 1]
      if (before !== undefined && timeMs < before.toMs) {
        last = before
      } else {
        last = findSpan(timeZone, timeMs)
        spans.splice(index, 0, last)
      }
      return last
    },
  }
}

/** How many of the ascending `spans` begin at or before `timeMs`. */
function countStartedBy(spans: readonly OffsetSpan[], timeMs: number): number {
  let low = 0
  let high = spans.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((spans[middle]?.fromMs ?? Infinity) <= timeMs) low = middle + 1
    else high = middle
  }
  return low
}

function findSpan(timeZone: string, timeMs: number): OffsetSpan {
  const here = zoned(timeZone, timeMs)
  // `previous` looks strictly before, and a change at `timeMs` itself begins this span.
  const fromMs = zoned(timeZone, timeMs + 1).getTimeZoneTransition('previous')?.epochMilliseconds ?? -Infinity
  const toMs = here.getTimeZoneTransition('next')?.epochMilliseconds ?? Infinity
  const offsetMs = here.offsetNanoseconds / 1e6
  const offsetBeforeMs = fromMs === -Infinity ? offsetMs : zoned(timeZone, fromMs - 1).offsetNanoseconds / 1e6
  return { fromMs, toMs, offsetMs, offsetBeforeMs }
}

function zoned(timeZone: string, timeMs: number): Temporal.ZonedDateTime {
  return Temporal.Instant.fromEpochMilliseconds(timeMs).toZonedDateTimeISO(timeZone)
}

function checkZone(timeZone: string): void {
  try {
    zoned(timeZone, 0)
  } catch (cause) {
    throw new BackupError('OPTIONS_INVALID', `timeZone is not known here: ${JSON.stringify(timeZone)}.`, {
      hint: "Give an IANA time zone such as 'Europe/Berlin', or 'UTC'.",
      cause,
    })
  }
}
