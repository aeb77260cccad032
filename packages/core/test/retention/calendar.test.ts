import fc from 'fast-check'
import { Temporal } from 'temporal-polyfill'
import { describe, expect, it, vi } from 'vitest'
import { type CalendarUnit, createCalendar } from '../../src/retention/calendar.ts'
import { durations, SEED, ZONES, zones } from './histories.ts'

const UNITS = ['hour', 'day', 'week', 'month', 'year'] as const
const pad = (number: number): string => String(number).padStart(2, '0')

/** The same keys from plain Temporal, field by field. */
function oracle(date: Date, timeZone: string): Record<CalendarUnit, string> {
  const zoned = Temporal.Instant.fromEpochMilliseconds(date.getTime()).toZonedDateTimeISO(timeZone)
  const day = zoned.toPlainDate().toString()
  return {
    hour: `${day}T${pad(zoned.hour)}`,
    day,
    week: `${zoned.yearOfWeek}-W${pad(zoned.weekOfYear ?? Number.NaN)}`,
    month: `${zoned.year}-${pad(zoned.month)}`,
    year: `${zoned.year}`,
  }
}

const dates = fc.date({ min: new Date('1990-01-01'), max: new Date('2060-01-01'), noInvalidDate: true })

function changesOfClocks(timeZone: string): number[] {
  const changes: number[] = []
  const end = Date.UTC(2030, 0, 1)
  let next = Temporal.Instant.fromEpochMilliseconds(Date.UTC(2005, 0, 1))
    .toZonedDateTimeISO(timeZone)
    .getTimeZoneTransition('next')
  while (next && next.epochMilliseconds < end) {
    changes.push(next.epochMilliseconds)
    next = next.getTimeZoneTransition('next')
  }
  return changes
}

describe('keys', () => {
  it.each(ZONES)('are what Temporal says, in %s', (timeZone) => {
    const calendar = createCalendar(timeZone)
    fc.assert(
      fc.property(dates, (date) => {
        const expected = oracle(date, timeZone)
        for (const unit of UNITS) expect(calendar.keyOf(date, unit)).toBe(expected[unit])
      }),
      { ...SEED, numRuns: 300 },
    )
  })

  it.each(ZONES.filter((zone) => changesOfClocks(zone).length > 0))(
    'are right around every change of clocks in %s',
    (timeZone) => {
      // Asked in a shuffled order, so that the table of offsets grows in every direction.
      const times = changesOfClocks(timeZone).flatMap((change) =>
        [-1, 0, 1, -3_600_000, 3_600_000].map((by) => change + by),
      )
      const calendar = createCalendar(timeZone)
      for (let index = 0; index < times.length; index += 1) {
        const date = new Date(times[(index * 7919) % times.length] ?? 0)
        expect(calendar.keyOf(date, 'hour')).toBe(oracle(date, timeZone).hour)
      }
    },
  )

  it('agree with Intl, which shares no code with Temporal, hour by hour of the day through twenty years', () => {
    for (const timeZone of ['Africa/Casablanca', 'Australia/Lord_Howe']) {
      const calendar = createCalendar(timeZone)
      const format = new Intl.DateTimeFormat('en-CA', {
        timeZone,
        hourCycle: 'h23',
        year: 'numeric',
        month: '2-digit',
        day: '2-digit',
        hour: '2-digit',
      })
      for (let time = Date.UTC(2008, 0, 1); time < Date.UTC(2028, 0, 1); time += 29 * 3_600_000) {
        expect(calendar.keyOf(new Date(time), 'hour')).toBe(format.format(time).replace(', ', 'T'))
      }
    }
  })

  it.each([
    ['2026-12-31T22:59:59Z', '2026-12-31', '2026-W53', '2026'],
    ['2026-12-31T23:00:00Z', '2027-01-01', '2026-W53', '2027'],
    ['2024-12-29T22:59:59Z', '2024-12-29', '2024-W52', '2024'],
    ['2024-12-29T23:00:00Z', '2024-12-30', '2025-W01', '2024'],
    ['2021-01-03T12:00:00Z', '2021-01-03', '2020-W53', '2021'],
    ['2021-01-04T12:00:00Z', '2021-01-04', '2021-W01', '2021'],
  ])('know ISO weeks around new year: %s', (time, day, week, year) => {
    const calendar = createCalendar('Europe/Berlin')
    expect(['day', 'week', 'year'].map((unit) => calendar.keyOf(new Date(time), unit as CalendarUnit))).toEqual([
      day,
      week,
      year,
    ])
  })

  it('give the hour that is shown twice one key, and the hour that is left out none', () => {
    const calendar = createCalendar('Europe/Berlin')
    const hours = (from: string): string[] =>
      [0, 1, 2, 3].map((hour) => calendar.keyOf(new Date(Date.parse(from) + hour * 3_600_000), 'hour').slice(-2))
    expect(hours('2026-10-24T23:30Z')).toEqual(['01', '02', '02', '03'])
    expect(hours('2026-03-28T23:30Z')).toEqual(['00', '01', '03', '04'])
  })

  it('skip the day that Samoa skipped', () => {
    const calendar = createCalendar('Pacific/Apia')
    expect(calendar.keyOf(new Date('2011-12-30T09:59:59Z'), 'day')).toBe('2011-12-29')
    expect(calendar.keyOf(new Date('2011-12-30T10:00:00Z'), 'day')).toBe('2011-12-31')
  })

  it('stay cheap: ten thousand backups need few questions to Temporal', () => {
    const calendar = createCalendar('Europe/Berlin')
    const questions = vi.spyOn(Temporal.Instant, 'fromEpochMilliseconds')
    for (let index = 0; index < 10_000; index += 1) {
      for (const unit of UNITS) calendar.bucketOf(Date.UTC(2016, 0, 1) + index * 8 * 3_600_000, unit)
    }
    // Three per stretch between two changes of clocks, of which these nine years touch 19.
    expect(questions.mock.calls.length).toBe(57)
    questions.mockRestore()
  })
})

describe('add and subtract', () => {
  it('move clocks on the wall', () => {
    const calendar = createCalendar('Europe/Berlin')
    expect(calendar.subtract(new Date('2026-03-29T10:00Z'), { days: 1 })).toEqual(new Date('2026-03-28T11:00Z'))
    expect(calendar.subtract(new Date('2026-03-29T10:00Z'), { hours: 24 })).toEqual(new Date('2026-03-28T10:00Z'))
    expect(calendar.add(new Date('2026-01-31T10:00Z'), { months: 1 })).toEqual(new Date('2026-02-28T10:00Z'))
    expect(calendar.subtract(new Date('2028-02-29T10:00Z'), { years: 1 })).toEqual(new Date('2027-02-28T10:00Z'))
  })
})

describe('windowStart', () => {
  it('is the plain difference, except where that would run back', () => {
    let same = 0
    fc.assert(
      fc.property(zones, dates, durations, (timeZone, date, duration) => {
        const calendar = createCalendar(timeZone)
        const start = calendar.windowStart(date.getTime(), duration)
        const plain = calendar.subtract(date, duration).getTime()
        expect(start).toBeLessThan(date.getTime())
        // At most the rest of the last day of a month, and the jump of a clock (a whole day once, in Samoa).
        expect(Math.abs(start - plain)).toBeLessThanOrEqual(2 * 86_400_000)
        if (start === plain) same += 1
      }),
      { ...SEED, numRuns: 400 },
    )
    expect(same).toBeGreaterThan(350)
  })

  it('never begins earlier for a later end', () => {
    const nearby = fc.tuple(
      fc.constantFrom(
        '2026-03-28T12:00Z',
        '2026-03-29T00:00Z',
        '2026-10-24T23:00Z',
        '2026-11-24T12:00Z',
        '2019-02-16T20:00Z',
        '2011-12-29T00:00Z',
        '2012-01-29T00:00Z',
        '2025-04-05T12:00Z',
        '2024-02-28T20:00Z',
      ),
      fc.integer({ min: 0, max: 72 * 60 }),
      fc.integer({ min: 0, max: 600 }),
    )
    const some = fc.oneof(
      durations,
      fc.constantFrom({ months: 1 }, { days: 1 }, { days: 30 }, { hours: 1 }, { years: 1 }),
    )
    fc.assert(
      fc.property(zones, nearby, some, (timeZone, [from, minutes, more], duration) => {
        const calendar = createCalendar(timeZone)
        const endMs = Date.parse(from) + minutes * 60_000
        expect(calendar.windowStart(endMs + more * 60_000, duration)).toBeGreaterThanOrEqual(
          calendar.windowStart(endMs, duration),
        )
      }),
      { ...SEED, numRuns: 600 },
    )
  })

  it('ends February at its end', () => {
    const calendar = createCalendar('UTC')
    const starts = ['2026-03-28T18:00Z', '2026-03-29T06:00Z', '2026-03-31T18:00Z', '2026-04-01T06:00Z'].map((end) =>
      new Date(calendar.windowStart(Date.parse(end), { months: 1 })).toISOString().slice(0, 16),
    )
    expect(starts).toEqual(['2026-02-28T18:00', '2026-03-01T00:00', '2026-03-01T00:00', '2026-03-01T06:00'])
  })

  it('stands still while clocks repeat an hour', () => {
    const calendar = createCalendar('Europe/Berlin')
    const starts = ['2026-10-25T00:59Z', '2026-10-25T01:05Z', '2026-10-25T02:05Z'].map((end) =>
      new Date(calendar.windowStart(Date.parse(end), { days: 30 })).toISOString().slice(0, 16),
    )
    expect(starts).toEqual(['2026-09-25T00:59', '2026-09-25T01:00', '2026-09-25T01:05'])
  })
})

describe('createCalendar', () => {
  it.each(['Mars/Olympus', '', undefined as unknown as string])('refuses the time zone %j', (timeZone) => {
    expect(() => createCalendar(timeZone)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })
})
