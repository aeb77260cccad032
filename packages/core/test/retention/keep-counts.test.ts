import fc from 'fast-check'
import { Temporal } from 'temporal-polyfill'
import { describe, expect, it } from 'vitest'
import type { CatalogEntry } from '../../src/contracts/backup.ts'
import { keepAll } from '../../src/retention/keep-all.ts'
import { type KeepCountsOptions, keepCounts } from '../../src/retention/keep-counts.ts'
import { keepLast } from '../../src/retention/keep-last.ts'
import { entry, histories, kept, SEED, zones } from './histories.ts'

const NOW = new Date('2030-01-01T00:00Z')
const NAMES = ['hourly', 'daily', 'weekly', 'monthly', 'yearly'] as const

/** restic's loop, from its description and with Temporal's fields, sharing nothing with the code under test. */
function resticKeeps(entries: readonly CatalogEntry[], options: KeepCountsOptions): string[] {
  const keys = [
    (t: Temporal.ZonedDateTime) => ((t.year * 100 + t.month) * 100 + t.day) * 100 + t.hour,
    (t: Temporal.ZonedDateTime) => (t.year * 100 + t.month) * 100 + t.day,
    (t: Temporal.ZonedDateTime) => (t.yearOfWeek ?? 0) * 100 + (t.weekOfYear ?? 0),
    (t: Temporal.ZonedDateTime) => t.year * 100 + t.month,
    (t: Temporal.ZonedDateTime) => t.year,
  ]
  const counts = NAMES.map((name) => options[name] ?? 0)
  const last = NAMES.map(() => -1)
  const list = [...entries].sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime())
  const ids: string[] = []
  list.forEach((each, nr) => {
    const time = Temporal.Instant.fromEpochMilliseconds(each.startedAt.getTime()).toZonedDateTimeISO(
      options.timeZone ?? 'UTC',
    )
    let keep = false
    keys.forEach((key, rule) => {
      const count = counts[rule] ?? 0
      if (count <= 0 && count !== -1) return
      if (key(time) === last[rule] && nr !== list.length - 1) return
      keep = true
      last[rule] = key(time)
      if (count > 0) counts[rule] = count - 1
    })
    if (keep) ids.push(each.id)
  })
  return ids.sort()
}

describe('keepCounts', () => {
  it('keeps what restic forget keeps', () => {
    const count = fc.oneof(fc.constant(0), fc.constant(-1), fc.integer({ min: 1, max: 5 }))
    const options = fc
      .record(
        { hourly: count, daily: count, weekly: count, monthly: count, yearly: count, timeZone: zones },
        { requiredKeys: [] },
      )
      .filter((each) => NAMES.some((name) => (each[name] ?? 0) !== 0))
    let removed = 0
    fc.assert(
      fc.property(histories, options, (history, counts) => {
        const fulls = history.filter(({ kind }) => kind === 'full')
        const ids = kept(keepCounts(counts)(fulls, NOW))
        expect(ids).toEqual(resticKeeps(fulls, counts))
        removed += fulls.length - ids.length
      }),
      { ...SEED, numRuns: 80 },
    )
    expect(removed).toBeGreaterThan(200)
  })

  it('counts days that have a backup, and keeps the oldest while count is left', () => {
    const fulls = ['2026-01-01T01:00Z', '2026-01-01T02:00Z', '2026-03-01T01:00Z', '2026-03-01T02:00Z'].map((time) =>
      entry(time),
    )
    const reasons = (daily: number): string[][] =>
      keepCounts({ daily })(fulls, NOW).map((each) => [String(each.keep), ...each.reasons])
    expect(reasons(2)).toEqual([
      ['false', 'beyond every count'],
      ['true', 'newest of day 2026-01-01'],
      ['false', 'beyond every count'],
      ['true', 'newest of day 2026-03-01'],
    ])
    expect(reasons(3)[0]).toEqual(['true', 'oldest of all, with days left to count'])
    expect(reasons(-1)[0]).toEqual(['true', 'oldest of all, with days left to count'])
  })

  it('lets backups in the future use up counts', () => {
    const fulls = [entry('2029-01-01T01:00Z'), entry('2099-01-01T01:00Z')]
    expect(kept(keepCounts({ yearly: 1 })(fulls, NOW))).toEqual([fulls[1]?.id])
  })

  it('keeps differentials and logs with their full', () => {
    const [old, young] = [entry('2026-01-01T01:00Z'), entry('2026-02-01T01:00Z')]
    const logs = [old, young].map((full) =>
      entry(new Date(full.startedAt.getTime() + 1000), { chain: full.chain, kind: 'log' }),
    )
    const orphan = entry('2026-02-02T01:00Z', { chain: 'gone', kind: 'log' })
    const decisions = keepCounts({ yearly: 1 })([old, young, ...logs, orphan], NOW)
    expect(decisions.map(({ keep, reasons }) => [keep, ...reasons])).toEqual([
      [false, 'beyond every count'],
      [true, 'newest of year 2026'],
      [false, 'its full is not kept'],
      [true, 'its full is kept'],
      [false, 'its full is missing'],
    ])
  })

  it.each<[object]>([
    [{}],
    [{ daily: 0 }],
    [{ daily: -2 }],
    [{ daily: 1.5 }],
    [{ daily: '7' }],
    [{ daily: undefined }],
    [{ daily: 7, last: 3 }],
    [{ daily: 7, timeZone: 'Nowhere' }],
  ])('refuses %j', (options) => {
    expect(() => keepCounts(options)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })
})

describe('keepLast', () => {
  it('keeps so many fulls and their chains', () => {
    const fulls = ['2026-01-03', '2026-01-01', '2026-01-02'].map((day) => entry(day))
    const log = entry('2026-01-05', { kind: 'log', chain: fulls[1]?.chain ?? '' })
    const decisions = keepLast(2)([...fulls, log], NOW)
    expect(decisions.map(({ keep, reasons }) => [keep, ...reasons])).toEqual([
      [true, 'number 1 of the newest 2'],
      [false, 'not among the newest 2'],
      [true, 'number 2 of the newest 2'],
      [false, 'its full is not kept'],
    ])
  })

  it.each([0, -1, 1.5, Number.NaN, '3' as unknown as number])('refuses %s', (count) => {
    expect(() => keepLast(count)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })
})

describe('keepAll', () => {
  it('keeps all', () => {
    fc.assert(
      fc.property(histories, (history) => {
        expect(kept(keepAll()(history, NOW))).toEqual(history.map(({ id }) => id).sort())
      }),
      SEED,
    )
  })
})
