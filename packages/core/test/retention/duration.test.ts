import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { approximateHours, type DurationInput, formatDuration, parseDuration } from '../../src/retention/duration.ts'
import { durations, SEED } from './histories.ts'

const zero = { years: 0, months: 0, weeks: 0, days: 0, hours: 0 }

describe('parseDuration', () => {
  it.each([
    ['12h', { hours: 12 }],
    ['30d', { days: 30 }],
    ['4w', { weeks: 4 }],
    ['6mo', { months: 6 }],
    ['1y', { years: 1 }],
    ['1y6mo', { years: 1, months: 6 }],
    ['2y5mo3w7d3h', { years: 2, months: 5, weeks: 3, days: 7, hours: 3 }],
  ])('reads %s', (text, expected) => {
    expect(parseDuration(text)).toEqual({ ...zero, ...expected })
  })

  it('reads an object', () => {
    expect(parseDuration({ months: 3, days: 0 })).toEqual({ ...zero, months: 3 })
  })

  it.each<[unknown]>([
    [''],
    ['30'],
    ['d'],
    ['-1d'],
    ['1.5d'],
    ['30 d'],
    ['30D'],
    ['6m'],
    ['3d1y'],
    ['1d1d'],
    ['0d'],
    ['1001y'],
    ['99999999999999999999d'],
    [{}],
    [{ days: 0 }],
    [{ days: -1 }],
    [{ days: 1.5 }],
    [{ days: Number.NaN }],
    [{ days: '3' }],
    [{ minutes: 5 }],
    [null],
    [undefined],
    [30],
    [['30d']],
  ])('refuses %j', (input) => {
    expect(() => parseDuration(input as DurationInput, 'daily')).toThrow(
      expect.objectContaining({ code: 'OPTIONS_INVALID', message: expect.stringMatching(/^daily /) }),
    )
  })

  it('says that months are `mo`', () => {
    expect(() => parseDuration('6m')).toThrow('months are `mo`')
  })

  it('reads back what formatDuration writes', () => {
    fc.assert(
      fc.property(durations, (duration) => {
        expect(parseDuration(formatDuration(duration))).toEqual({ ...zero, ...duration })
      }),
      SEED,
    )
  })
})

describe('approximateHours', () => {
  it('orders durations of different units', () => {
    const sorted = ['23h', '1d', '6d', '1w', '27d', '1mo', '32d', '11mo', '1y', '367d']
    const hours = sorted.map((text) => approximateHours(parseDuration(text)))
    expect(hours).toEqual([...hours].sort((a, b) => a - b))
    expect(new Set(hours).size).toBe(sorted.length)
  })
})
