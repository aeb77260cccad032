import fc from 'fast-check'
import { Temporal } from 'temporal-polyfill'
import { describe, expect, it } from 'vitest'
import type { CatalogEntry } from '../../src/contracts/backup.ts'
import type { RetentionPolicy } from '../../src/contracts/policy.ts'
import { decideRetention } from '../../src/retention/decide.ts'
import { defaultRetention, type KeepWithinOptions, keepWithin } from '../../src/retention/keep-within.ts'
import { DAY_MS, entry, HOUR_MS, histories, keepWithinPolicies, kept, SEED } from './histories.ts'

const at = (timeMs: number): Date => new Date(timeMs)
const lastTime = (history: readonly CatalogEntry[]): Date => history.at(-1)?.startedAt ?? at(0)

/** Prunes after each backup, as the schedule does. */
function pruneEveryTime(policy: RetentionPolicy, history: readonly CatalogEntry[]): string[] {
  let present: CatalogEntry[] = []
  for (const each of history) {
    present.push(each)
    const ids = new Set(kept(decideRetention(policy, present, each.startedAt)))
    present = present.filter(({ id }) => ids.has(id))
  }
  return present.map(({ id }) => id).sort()
}

describe('properties of keepWithin', () => {
  it('pruning after every backup keeps what one prune at the end keeps', () => {
    let removed = 0
    fc.assert(
      fc.property(keepWithinPolicies, histories, (policy, history) => {
        const once = kept(decideRetention(policy, history, lastTime(history)))
        expect(pruneEveryTime(policy, history)).toEqual(once)
        removed += history.length - once.length
      }),
      { ...SEED, numRuns: 150 },
    )
    expect(removed).toBeGreaterThan(1000)
  })

  it('pruning again removes nothing more', () => {
    fc.assert(
      fc.property(keepWithinPolicies, histories, (policy, history) => {
        const ids = kept(decideRetention(policy, history, lastTime(history)))
        const rest = history.filter(({ id }) => ids.includes(id))
        expect(kept(decideRetention(policy, rest, lastTime(history)))).toEqual(ids)
      }),
      { ...SEED, numRuns: 60 },
    )
  })

  it('does not depend on the order of its input, nor on what it was asked before', () => {
    fc.assert(
      fc.property(keepWithinPolicies, histories, fc.infiniteStream(fc.nat()), (policy, history, random) => {
        const shuffled = history
          .map((each) => ({ each, rank: random.next().value ?? 0 }))
          .sort((a, b) => a.rank - b.rank)
          .map(({ each }) => each)
        const byId = (list: readonly CatalogEntry[]): unknown =>
          [...policy(list, lastTime(history))].sort((a, b) => (a.id < b.id ? -1 : 1))
        expect(byId(shuffled)).toEqual(byId(history))
      }),
      { ...SEED, numRuns: 40 },
    )
  })

  it('does not depend on how much later it is asked', () => {
    fc.assert(
      fc.property(keepWithinPolicies, histories, (policy, history) => {
        const muchLater = at(lastTime(history).getTime() + 5000 * DAY_MS)
        expect(policy(history, muchLater)).toEqual(policy(history, lastTime(history)))
      }),
      { ...SEED, numRuns: 40 },
    )
  })
})

describe('windows of keepWithin', () => {
  /** Nine years of a backup and a prune a day; returns the times of what is there at the end of each day. */
  function simulate(policy: RetentionPolicy, years: number, each: (fulls: number[], now: number) => void): void {
    let present: CatalogEntry[] = []
    const begin = Date.UTC(2018, 0, 1, 2)
    for (let day = 0; day < years * 365; day += 1) {
      const now = at(begin + day * DAY_MS)
      present.push(entry(now))
      const ids = new Set(kept(decideRetention(policy, present, now)))
      present = present.filter(({ id }) => ids.has(id))
      each(
        present.map(({ startedAt }) => startedAt.getTime()),
        now.getTime(),
      )
    }
  }

  /** Which promise a gap must keep whose younger end is so many days old: 0 for daily, to 3 for yearly. */
  function rangeOf(ageDays: number): number {
    return [30 - 1, 90 - 7, 365 - 31].filter((limit) => ageDays >= limit).length
  }

  it('hold the default promise for nine years of daily backups: 30 days, 90 days, 1 year, 7 years', () => {
    const counts = new Set<number>()
    const longestGaps = [0, 0, 0, 0]
    let oldest = Infinity
    simulate(defaultRetention, 9, (fulls, now) => {
      if (now < Date.UTC(2026, 0, 1)) return
      counts.add(fulls.length)
      oldest = Math.min(oldest, (now - (fulls[0] ?? now)) / DAY_MS)
      for (const [index, time] of fulls.entries()) {
        const next = fulls[index + 1] ?? now
        const range = rangeOf((now - next) / DAY_MS)
        longestGaps[range] = Math.max(longestGaps[range] ?? 0, (next - time) / DAY_MS)
      }
    })
    expect([...counts].sort((a, b) => a - b)).toEqual([54, 55, 56, 57])
    expect(longestGaps).toEqual([1, 7, 31, 366])
    expect(oldest).toBeGreaterThan(6 * 365)
  })

  it('are strict at their beginning', () => {
    const fulls = [entry('2026-11-01T02:00Z'), entry('2026-11-01T02:01Z'), entry('2026-11-11T02:00Z')]
    const policy = keepWithin({ all: '10d' })
    expect(policy(fulls, lastTime(fulls)).map(({ keep, reasons }) => [keep, ...reasons])).toEqual([
      [false, 'older than every window'],
      [true, 'within 10d'],
      [true, 'within 10d'],
    ])
  })

  it('count back from the newest full, not from a log', () => {
    const full = entry('2026-11-01T02:00Z')
    const older = entry('2026-10-25T02:00Z')
    const log = entry('2026-11-20T02:00Z', { kind: 'log', chain: full.chain })
    expect(kept(keepWithin({ daily: '10d' })([older, full, log], at(Date.UTC(2027, 0, 1))))).toEqual(
      [older, full, log].map(({ id }) => id).sort(),
    )
  })

  it('leave out a rule for the oldest, because it would depend on how often one prunes', () => {
    const fulls = [entry('2026-11-01T08:00Z'), entry('2026-11-10T08:00Z'), entry('2026-11-10T12:00Z')]
    const ours = keepWithin({ daily: '2d' })
    /** The policy as restic has it. */
    const withOldest: RetentionPolicy = (backups, now) => {
      const [oldest] = [...backups].sort((a, b) => a.startedAt.getTime() - b.startedAt.getTime())
      const newest = Math.max(...backups.map(({ startedAt }) => startedAt.getTime()))
      const inside = oldest !== undefined && oldest.startedAt.getTime() > newest - 2 * DAY_MS
      return ours(backups, now).map((each) => (inside && each.id === oldest.id ? { ...each, keep: true } : each))
    }
    const once = (policy: RetentionPolicy): string[] => kept(decideRetention(policy, fulls, lastTime(fulls)))
    expect(once(withOldest)).toEqual([fulls[2]?.id])
    expect(pruneEveryTime(withOldest, fulls)).toEqual([fulls[1]?.id, fulls[2]?.id])
    expect(once(ours)).toEqual([fulls[2]?.id])
    expect(pruneEveryTime(ours, fulls)).toEqual([fulls[2]?.id])
  })

  it('do not take back in tomorrow what they let go today', () => {
    // One month before 28 March 18:00 is 28 February 18:00, and before 29 March 06:00 it would be 28 February 06:00.
    const february = [entry('2026-02-28T12:00Z'), entry('2026-03-28T18:00Z'), entry('2026-03-29T06:00Z')]
    // 30 days before the hour that clocks show twice: 02:50 first, then 02:10.
    const autumn = [entry('2026-09-25T00:30Z'), entry('2026-10-25T00:50Z'), entry('2026-10-25T01:10Z')]
    for (const [history, all] of [
      [february, '1mo'],
      [autumn, '30d'],
    ] as const) {
      const policy = keepWithin({ all, timeZone: 'Europe/Berlin' })
      const expected = history.slice(1).map(({ id }) => id)
      expect(kept(decideRetention(policy, history, lastTime(history)))).toEqual(expected)
      expect(pruneEveryTime(policy, history)).toEqual(expected)
    }
  })

  it('keep what lies in the future, and do not count back from it', () => {
    const now = at(Date.UTC(2026, 10, 22, 12))
    const future = entry('2099-01-01T00:00Z')
    const today = entry('2026-11-22T02:00Z')
    const old = entry('2026-11-01T02:00Z')
    const decisions = keepWithin({ daily: '3d' })([future, today, old], now)
    expect(decisions.map(({ keep, reasons }) => [keep, ...reasons])).toEqual([
      [true, 'lies in the future'],
      [true, 'newest of day 2026-11-22'],
      [false, 'older than every window'],
    ])
  })

  it('keep everything while there is no full to count back from', () => {
    const orphan = entry('2020-01-01T02:00Z', { kind: 'log' })
    expect(keepWithin({ daily: '3d' })([orphan, entry('2099-01-01T00:00Z')], at(Date.UTC(2026, 0, 1)))[0]).toEqual({
      id: orphan.id,
      keep: true,
      reasons: ['there is no full backup to count back from'],
    })
  })
})

describe('buckets of keepWithin', () => {
  const reasonsOf = (options: KeepWithinOptions, ...times: string[]): string[][] => {
    const fulls = times.map((time) => entry(time))
    return keepWithin(options)(fulls, at(Date.UTC(2030, 0, 1))).map(({ keep, reasons }) => [
      keep ? 'keep' : 'remove',
      ...reasons,
    ])
  }

  it('are days of the time zone', () => {
    const times = ['2026-07-01T21:30Z', '2026-07-01T22:30Z', '2026-07-02T21:00Z'] as const
    expect(reasonsOf({ daily: '9d', timeZone: 'Europe/Berlin' }, ...times)).toEqual([
      ['keep', 'newest of day 2026-07-01'],
      ['remove', 'not the newest of day 2026-07-02'],
      ['keep', 'newest of day 2026-07-02'],
    ])
    expect(reasonsOf({ daily: '9d' }, ...times).map(([verdict]) => verdict)).toEqual(['remove', 'keep', 'keep'])
  })

  it('are ISO weeks with the ISO year, so that the week of New Year keeps one', () => {
    const times = [
      '2026-12-27T12:00Z',
      '2026-12-28T12:00Z',
      '2027-01-01T12:00Z',
      '2027-01-03T12:00Z',
      '2027-01-04T12:00Z',
    ] as const
    expect(reasonsOf({ weekly: '4w' }, ...times)).toEqual([
      ['keep', 'newest of week 2026-W52'],
      ['remove', 'not the newest of week 2026-W53'],
      ['remove', 'not the newest of week 2026-W53'],
      ['keep', 'newest of week 2026-W53'],
      ['keep', 'newest of week 2027-W01'],
    ])
  })

  it('take the hour that clocks show twice for one', () => {
    const times = ['2026-10-25T00:30Z', '2026-10-25T01:30Z', '2026-10-25T02:30Z'] as const
    expect(reasonsOf({ hourly: '9h', timeZone: 'Europe/Berlin' }, ...times).map(([verdict]) => verdict)).toEqual([
      'remove',
      'keep',
      'keep',
    ])
  })

  it('give every rule its say', () => {
    expect(
      reasonsOf({ daily: '2d', weekly: '4w', monthly: '1y', yearly: '7y' }, '2026-10-31T02:00Z', '2026-11-22T02:00Z'),
    ).toEqual([
      ['keep', 'newest of week 2026-W44', 'newest of month 2026-10'],
      ['keep', 'newest of day 2026-11-22', 'newest of week 2026-W47', 'newest of month 2026-11', 'newest of year 2026'],
    ])
  })

  it('agree with plain Temporal and groups, written the long way', () => {
    fc.assert(
      fc.property(histories, fc.constantFrom('UTC', 'Europe/Berlin', 'Pacific/Apia'), (history, timeZone) => {
        const fulls = history.filter(({ kind }) => kind === 'full')
        const zoned = (each: CatalogEntry): Temporal.ZonedDateTime =>
          Temporal.Instant.fromEpochMilliseconds(each.startedAt.getTime()).toZonedDateTimeISO(timeZone)
        const newest = Math.max(...fulls.map(({ startedAt }) => startedAt.getTime()))
        const expected = fulls.filter((full) => {
          const age = newest - full.startedAt.getTime()
          const newestOf = (key: (date: Temporal.ZonedDateTime) => string): boolean =>
            !fulls.some((other) => other.startedAt > full.startedAt && key(zoned(other)) === key(zoned(full)))
          return (
            (age < 100 * HOUR_MS && newestOf((date) => date.toPlainDate().toString())) ||
            (age < 2000 * HOUR_MS && newestOf((date) => `${date.yearOfWeek} ${date.weekOfYear}`)) ||
            (age < 9000 * HOUR_MS && newestOf((date) => `${date.year} ${date.month}`))
          )
        })
        const policy = keepWithin({ daily: '100h', weekly: '2000h', monthly: '9000h', timeZone })
        expect(kept(policy(fulls, at(newest)))).toEqual(expected.map(({ id }) => id).sort())
      }),
      { ...SEED, numRuns: 60 },
    )
  })
})

describe('differentials and logs', () => {
  const chain = 'c1'
  const old = [
    entry('2026-10-01T02:00Z', { chain }),
    entry('2026-10-02T02:00Z', { chain, kind: 'differential' }),
    entry('2026-10-03T02:00Z', { chain, kind: 'log' }),
  ]
  const newest = entry('2026-11-22T02:00Z')
  const verdicts = (options: KeepWithinOptions): string[] =>
    keepWithin(options)([...old.slice(1), newest], newest.startedAt)
      .slice(0, 2)
      .flatMap(({ reasons }) => reasons)

  it('have windows of their own', () => {
    expect(verdicts({ daily: '10d', logs: '60d', differentials: '9d' })).toEqual([
      'differential older than 9d',
      'log within 60d',
    ])
  })

  it('stay as long as daily fulls by default', () => {
    expect(verdicts({ daily: '10d', monthly: '1y' })).toEqual(['differential older than 10d', 'log older than 10d'])
  })

  it('stay for the longest window where there is no daily one', () => {
    expect(verdicts({ hourly: '24h', weekly: '8w', monthly: '2mo' })).toEqual([
      'differential within 2mo',
      'log within 2mo',
    ])
  })

  it('keep the full that they need, although no bucket does', () => {
    const decisions = decideRetention(keepWithin({ daily: '10d', logs: '60d' }), [...old, newest], newest.startedAt)
    expect(decisions.map(({ keep }) => keep)).toEqual([true, true, true, true])
  })
})

describe('options of keepWithin', () => {
  it.each<[string, object]>([
    ['no rule', {}],
    ['no rule for fulls', { logs: '30d', differentials: '30d' }],
    ['a window of nothing', { daily: '0d' }],
    ['a rule that does not exist', { daily: '30d', dayly: '30d' }],
    ['an unset rule', { daily: '30d', weekly: undefined }],
    ['a number', { daily: 30 }],
    ['an unknown time zone', { daily: '30d', timeZone: 'Mars/Olympus' }],
    ['null', null as unknown as object],
  ])('refuses %s', (_, options) => {
    expect(() => keepWithin(options)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })
})
