import { setImmediate as nextTurn } from 'node:timers/promises'
import type { CatalogEntry } from '../contracts/backup.ts'
import type { RetentionPolicy } from '../contracts/policy.ts'
import { throwIfAborted } from '../errors.ts'
import { createCalendar } from './calendar.ts'
import { checkDate, checkOptionNames } from './check-options.ts'
import { decideRetention } from './decide.ts'
import { type DurationInput, type ParsedDuration, parseDuration } from './duration.ts'

export interface ForecastOptions {
  /** A full is made, and everything pruned, at this interval. Default: `'1d'`. */
  readonly every?: DurationInput
  /** How far to look ahead of `now`. Default: `'10y'`. */
  readonly horizon?: DurationInput
  readonly signal?: AbortSignal
}

/** When one backup will be let go. */
export interface RetentionForecast {
  readonly id: string
  /** Date of the prune that removes it: `now` when it may go at once; absent when it stays beyond the horizon. */
  readonly removedAt?: Date
}

const SLICE_MS = 4

/**
 * Tells for each of `entries` when `policy` will let it go, in the order of `entries`.
 *
 * The future is played through: a prune at `now`, then a new full, in a chain of its own, and a prune at each step.
 * Steps count from the newest full that is not in the future (from `now` when there is none), in UTC. New fulls are
 * taken to pass their test restore, so that they relieve today's newest verified one. What is on hold stays on hold.
 *
 * Works in slices of about 4 ms between which other work of the process gets its turn. 60 backups and 10 years of
 * daily steps take about a second.
 *
 * @throws `OPTIONS_INVALID`, `CONTRACT_BROKEN`, `POLICY_KEEPS_NOTHING` as `decideRetention` does; `ABORTED`
 *
 * @example
 * ```ts
 * import { forecastRetention, keepWithin } from '@taskflow-backup/core'
 *
 * const full = {
 *   id: '2026-11-22/2026-11-22-full', chain: '2026-11-22', kind: 'full' as const, storedBytes: 1000,
 *   startedAt: new Date('2026-11-22T02:00:00Z'), destinations: ['disk'], failedVerification: false, held: false,
 * }
 * const now = new Date('2026-11-22T03:00:00Z')
 * const [forecast] = await forecastRetention(keepWithin({ daily: '30d' }), [full], now, { horizon: '60d' })
 * console.log(forecast?.removedAt?.toISOString()) // 2026-12-22T02:00:00.000Z
 * ```
 */
export async function forecastRetention(
  policy: RetentionPolicy,
  entries: readonly CatalogEntry[],
  now: Date,
  options: ForecastOptions = {},
): Promise<RetentionForecast[]> {
  const { signal } = options
  throwIfAborted(signal)
  const dates = datesOfPrunes(entries, now, options)
  const waiting = new Set(entries.filter((entry) => !entry.held).map((entry) => entry.id))
  const removedAt = new Map<string, Date>()
  let present = [...entries]
  let sliceEndsAt = performance.now() + SLICE_MS

  for (const date of dates) {
    if (date !== now) present.push(imaginedFull(date))
    const kept = new Set(
      decideRetention(policy, present, date).flatMap((decision) => (decision.keep ? decision.id : [])),
    )
    for (const { id } of present) {
      if (!kept.has(id) && waiting.delete(id)) removedAt.set(id, date)
    }
    if (waiting.size === 0) break
    present = present.filter((entry) => kept.has(entry.id))
    if (performance.now() < sliceEndsAt) continue
    await nextTurn()
    throwIfAborted(signal)
    sliceEndsAt = performance.now() + SLICE_MS
  }

  return entries.map(({ id }) => {
    const date = removedAt.get(id)
    return date === undefined ? { id } : { id, removedAt: new Date(date) }
  })
}

/** `now` itself, then one date per step up to the horizon. */
function datesOfPrunes(entries: readonly CatalogEntry[], now: Date, options: ForecastOptions): Iterable<Date> {
  checkDate(now, 'now')
  const { signal: _, ...lengths } = options
  checkOptionNames(lengths, ['every', 'horizon'], 'forecastRetention')
  const every = parseDuration(options.every ?? '1d', 'forecastRetention every')
  const horizon = parseDuration(options.horizon ?? '10y', 'forecastRetention horizon')
  const calendar = createCalendar('UTC')
  const endMs = calendar.add(now, horizon).getTime()
  const pastFulls = entries.filter((entry) => entry.kind === 'full' && entry.startedAt <= now)
  const base =
    pastFulls.reduce<Date | undefined>((a, b) => (a === undefined || b.startedAt > a ? b.startedAt : a), undefined) ??
    now

  return (function* () {
    yield now
    for (let step = stepsBefore(base, now, every) + 1; ; step += 1) {
      // Always from the base, so that months which begin on the 31st do not end up on the 28th.
      const date = calendar.add(base, times(every, step))
      if (date.getTime() > endMs) return
      if (date > now) yield date
    }
  })()
}

/** So many steps surely do not lead beyond `now`; saves stepping through a long past. */
function stepsBefore(base: Date, now: Date, every: ParsedDuration): number {
  const { years, months, weeks, days, hours } = every
  const longestHours = (years * 366 + months * 31 + weeks * 7 + days) * 24 + hours
  return Math.floor((now.getTime() - base.getTime()) / (longestHours * 3_600_000))
}

function times({ years, months, weeks, days, hours }: ParsedDuration, factor: number): ParsedDuration {
  return {
    years: years * factor,
    months: months * factor,
    weeks: weeks * factor,
    days: days * factor,
    hours: hours * factor,
  }
}

function imaginedFull(startedAt: Date): CatalogEntry {
  // No stored id has a space in it, so these cannot be mistaken for one.
  const chain = `forecast ${startedAt.toISOString()}`
  return {
    id: `${chain}/full`,
    chain,
    kind: 'full',
    startedAt,
    storedBytes: 0,
    destinations: [],
    verified: 'restored',
    failedVerification: false,
    held: false,
  }
}
