import type { CalendarDuration } from './duration.ts'
import type { ZoneOffsets } from './zone-offsets.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000
// Zones are between 12 hours behind and 14 ahead of UTC; two days are on the safe side.
const FARTHEST_OFFSET_MS = 2 * DAY_MS

/**
 * Where (epoch, ms) a window that ends at `endMs` and is `duration` long begins. Always before `endMs`.
 *
 * The plain difference will not do, because with it a later end can have an earlier begin: 28 March 18:00 minus a
 * month is 28 February 18:00, but 29 March 06:00 minus a month is 28 February 06:00, as there is no 29 February; and
 * the same happens in the hour that clocks show twice. A backup between the two would be out of the window today and
 * in it again tomorrow, so that pruning daily kept less than pruning once. Here every step keeps the order of times:
 * the local clock never runs back, and a day that a month does not have is that month's end.
 * Except in those cases the result is the plain difference.
 */
export function findWindowStart(offsets: ZoneOffsets, endMs: number, duration: CalendarDuration): number {
  const months = (duration.years ?? 0) * 12 + (duration.months ?? 0)
  const days = (duration.weeks ?? 0) * 7 + (duration.days ?? 0)
  let startMs = endMs
  if (months !== 0 || days !== 0) {
    const localMs = subtractMonths(steadyLocal(offsets, endMs), months) - days * DAY_MS
    startMs = firstShowing(offsets, localMs)
  }
  return Math.min(startMs - (duration.hours ?? 0) * HOUR_MS, endMs - 1)
}

/** The latest time that local clocks have shown up to `timeMs`; stands still while they repeat an hour. */
function steadyLocal(offsets: ZoneOffsets, timeMs: number): number {
  const span = offsets.at(timeMs)
  return Math.max(timeMs + span.offsetMs, span.fromMs + span.offsetBeforeMs)
}

/** The first moment at which local clocks show `localMs`, or have jumped over it. */
function firstShowing(offsets: ZoneOffsets, localMs: number): number {
  let span = offsets.at(localMs - FARTHEST_OFFSET_MS)
  while (span.toMs + span.offsetMs <= localMs) span = offsets.at(span.toMs)
  return Math.max(span.fromMs, localMs - span.offsetMs)
}

function subtractMonths(localMs: number, months: number): number {
  if (months === 0) return localMs
  const from = new Date(localMs)
  const month = from.getUTCFullYear() * 12 + from.getUTCMonth() - months
  const to = new Date(localMs)
  to.setUTCFullYear(Math.floor(month / 12), month - Math.floor(month / 12) * 12, from.getUTCDate())
  // A day too many has run over into the next month: back to that month's begin, which is the end of the right one.
  const overrun = to.getUTCFullYear() * 12 + to.getUTCMonth() !== month
  return overrun ? Date.UTC(to.getUTCFullYear(), to.getUTCMonth(), 1) : to.getTime()
}
