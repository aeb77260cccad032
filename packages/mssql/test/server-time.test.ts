import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  floorToDatetime,
  formatLocalTime,
  mayHoldLater,
  momentsOfLocalTime,
  parseLocalTime,
  stopTime,
  zoneOffsetMinutes,
} from '../src/server-time.ts'

const MINUTE = 60_000
const utc = (text: string): number => Date.parse(text)
const berlin = (moment: number) => ({ at: moment, offsetMinutes: zoneOffsetMinutes('Europe/Berlin', moment) })

describe('local times', () => {
  it('are read in the forms that backup files and msdb have', () => {
    expect(formatLocalTime(parseLocalTime('2017-06-01T12:59:12'))).toBe('2017-06-01T12:59:12.000')
    expect(formatLocalTime(parseLocalTime('2017-06-01 12:59:12.9979999'))).toBe('2017-06-01T12:59:12.997')
    expect(formatLocalTime(parseLocalTime('2024-02-29T00:00:00.1'))).toBe('2024-02-29T00:00:00.100')
  })

  it.each(['2026-02-30T00:00:00', '2026-01-31', '2026-01-31T24:00:00', '2026-01-31T12:00:00Z', '31.1.2026 12:00', ''])(
    'are refused when they are none: %j',
    (text) => {
      expect(() => parseLocalTime(text)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
    },
  )
})

describe('what datetime holds', () => {
  /** The server rounds a text to the nearest of its ticks of 1/300 s. */
  const asServerReads = (ms: number): number => (Math.round((ms * 3) / 10) * 10) / 3

  it.each([
    ['.999', '.997'],
    ['.998', '.997'],
    ['.997', '.997'],
    ['.996', '.993'],
    ['.003', '.000'],
    ['.004', '.003'],
    ['.000', '.000'],
  ])('%s is rounded down to %s', (asked, kept) => {
    expect(formatLocalTime(floorToDatetime(parseLocalTime(`2026-01-31T12:00:00${asked}`)))).toBe(
      `2026-01-31T12:00:00${kept}`,
    )
  })

  it('is never later than what was asked, also once the server has rounded it, and less than two ticks earlier', () => {
    fc.assert(
      fc.property(fc.integer({ min: utc('1900-01-01T00:00:00Z'), max: utc('2100-01-01T00:00:00Z') }), (ms) => {
        const read = asServerReads(floorToDatetime(ms))
        expect(read - ms).toBeLessThan(1e-3)
        expect(ms - read).toBeLessThan(10 / 3 + 1e-3)
      }),
    )
  })
})

describe('daylight saving', () => {
  it('has an hour that is repeated in autumn, and one that is left out in spring', () => {
    const moments = (text: string) =>
      momentsOfLocalTime(parseLocalTime(text), 'Europe/Berlin').map((moment) => new Date(moment).toISOString())
    expect(moments('2025-10-26T02:30:00')).toEqual(['2025-10-26T00:30:00.000Z', '2025-10-26T01:30:00.000Z'])
    expect(moments('2025-03-30T02:30:00')).toEqual([])
    expect(moments('2025-03-30T03:30:00')).toEqual(['2025-03-30T01:30:00.000Z'])
    expect(moments('2025-01-15T12:00:00')).toEqual(['2025-01-15T11:00:00.000Z'])
  })

  it('is known for zones with half hours, of the south, and without any', () => {
    expect(zoneOffsetMinutes('Asia/Kolkata', utc('2026-01-01T00:00:00Z'))).toBe(330)
    expect(zoneOffsetMinutes('Australia/Lord_Howe', utc('2026-01-01T00:00:00Z'))).toBe(660)
    expect(zoneOffsetMinutes('Australia/Lord_Howe', utc('2026-07-01T00:00:00.999Z'))).toBe(630)
    expect(zoneOffsetMinutes('UTC', utc('2026-07-01T00:00:00Z'))).toBe(0)
    expect(() => zoneOffsetMinutes('Mars/Olympus', 0)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })

  it('does not touch a log that lies on one side of the change', () => {
    const before = berlin(utc('2025-10-26T01:05:00Z'))
    const after = berlin(utc('2025-10-26T01:20:00Z'))
    expect(stopTime(utc('2025-10-26T01:10:00.500Z'), before, after)).toEqual({
      stopAt: '2025-10-26T02:10:00.500',
      isExact: true,
    })
  })

  it('takes the earlier reading in a log in which the clock was changed', () => {
    const autumn = [berlin(utc('2025-10-26T00:55:00Z')), berlin(utc('2025-10-26T01:10:00Z'))] as const
    expect(stopTime(utc('2025-10-26T01:05:00Z'), ...autumn)).toEqual({
      stopAt: '2025-10-26T02:05:00.000',
      isExact: false,
    })
    const spring = [berlin(utc('2025-03-30T00:55:00Z')), berlin(utc('2025-03-30T01:10:00Z'))] as const
    expect(stopTime(utc('2025-03-30T01:05:00Z'), ...spring)).toEqual({
      stopAt: '2025-03-30T02:05:00.000',
      isExact: false,
    })
  })

  it('never lets a restore go past the moment, and loses nothing where the stop is exact', () => {
    const change = fc.constantFrom(
      ['Europe/Berlin', '2025-03-30T01:00:00Z'],
      ['Europe/Berlin', '2025-10-26T01:00:00Z'],
      ['America/St_Johns', '2025-11-02T04:30:00Z'],
      ['Australia/Lord_Howe', '2025-10-04T15:30:00Z'],
    )
    const minutes = fc.integer({ min: -180 * MINUTE, max: 180 * MINUTE })
    fc.assert(
      fc.property(
        change,
        fc.array(minutes, { minLength: 3, maxLength: 40 }),
        fc.nat(),
        ([zone = '', changed = ''], times, pick) => {
          const commits = times.map((shift) => utc(changed) + shift).sort((a, b) => a - b)
          const [from = 0, to = 0] = [commits[0], commits.at(-1)]
          const moment = commits[pick % commits.length] as number
          const offset = (at: number) => ({ at, offsetMinutes: zoneOffsetMinutes(zone, at) })
          const { stopAt, isExact } = stopTime(moment, offset(from), offset(to))
          // The server stops at the first commit whose wall clock time is later.
          const stop = parseLocalTime(stopAt)
          const wall = (at: number) => floorToDatetime(at + zoneOffsetMinutes(zone, at) * MINUTE)
          const first = commits.findIndex((at) => wall(at) > stop)
          const restored = first < 0 ? commits : commits.slice(0, first)
          for (const commit of restored) expect(commit - moment).toBeLessThan(10 / 3 + 1)
          if (isExact) for (const commit of commits.slice(restored.length)) expect(commit).toBeGreaterThan(moment)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('does not end a restore in a log before the one that was asked for', () => {
    // Logs of every quarter of an hour around the end of summer time at 01:00 UTC; each takes a minute to back up.
    const [quarter, tookMs] = [15 * MINUTE, MINUTE]
    const change = utc('2025-10-26T01:00:00Z')
    const clock = (at: number) => ({ at, offsetMinutes: at < change ? 120 : 60 })
    const first = utc('2025-10-26T00:10:00Z')
    const ends = Array.from({ length: 12 }, (_, index) => first + index * quarter)
    const logs = ends
      .slice(1)
      .map((end, index) => ({ from: (ends[index] as number) + tookMs, begun: end, to: end + tookMs }))
    fc.assert(
      fc.property(fc.integer({ min: first + 2 * tookMs, max: ends.at(-1) as number }), (moment) => {
        const last = logs.findIndex(({ begun }) => begun >= moment)
        for (const { from, begun, to } of logs.slice(0, last + 1)) {
          const commits = Array.from({ length: (to - from) / 10_000 }, (_, n) => from + n * 10_000)
          const stop = stopTime(moment, clock(from), clock(begun))
          const stopsAt = mayHoldLater(moment, begun, tookMs) ? parseLocalTime(stop.stopAt) : Number.POSITIVE_INFINITY
          const late = commits.findIndex((at) => at + clock(at).offsetMinutes * MINUTE > stopsAt)
          const restored = late < 0 ? commits : commits.slice(0, late)
          expect(restored.at(-1) ?? 0).toBeLessThanOrEqual(moment)
          if (stop.isExact || moment > to)
            expect(restored.length).toBe(commits.filter((commit) => commit <= moment).length)
        }
      }),
      { numRuns: 200 },
    )
  })
})
