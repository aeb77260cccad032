import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  historyDetails,
  parseHistory,
  parseHistoryDetails,
  spansBetween,
  whyApart,
  whyNotOn,
} from '../src/physical/timeline.ts'

const HISTORY = [
  { timeline: 1, leftAt: 0x100n },
  { timeline: 2, leftAt: 0x180n },
  { timeline: 4, leftAt: 0x300n },
]

describe('timelines', () => {
  test('reads a history file', () => {
    const text = '1\t0/100\tno recovery target specified\n\n2\t0/180\tbefore 2026-01-01 00:00:00+00\n# x\n4\t1/300\tx'
    expect(parseHistory(text)).toEqual([
      { timeline: 1, leftAt: 0x100n },
      { timeline: 2, leftAt: 0x180n },
      { timeline: 4, leftAt: 0x100000300n },
    ])
  })

  test.for(['1 100 x', 'x\t0/100\tx', '1', '2\t0/200\tx\n1\t0/300\tx', '1\t0/300\tx\n2\t0/200\tx'])(
    'refuses a history file with %j',
    (text) => {
      expect(() => parseHistory(text)).toThrow('bad line')
    },
  )

  test('keeps a history in the details of a manifest', () => {
    expect(parseHistoryDetails(JSON.parse(JSON.stringify(historyDetails(HISTORY))))).toEqual(HISTORY)
    for (const bad of [undefined, 1, 'x', [[1, 'x']], [1]]) expect(parseHistoryDetails(bad)).toBeUndefined()
  })

  test('knows what lies on a history', () => {
    expect(whyNotOn({ timeline: 5, lsn: 0x9999n }, HISTORY, 5)).toBeUndefined()
    expect(whyNotOn({ timeline: 1, lsn: 0x100n }, HISTORY, 5)).toBeUndefined()
    expect(whyNotOn({ timeline: 1, lsn: 0x101n }, HISTORY, 5)).toContain('was left at 0/100')
    expect(whyNotOn({ timeline: 3, lsn: 0x10n }, HISTORY, 5)).toContain('not in the history')
    expect(whyNotOn({ timeline: 6, lsn: 0x10n }, HISTORY, 5)).toContain('not in the history')
  })

  test('tells two timelines of one number apart by where their ancestors were left', () => {
    const place = { timeline: 5, lsn: 0x400n }
    expect(whyApart(place, historyDetails(HISTORY), HISTORY, 5)).toBeUndefined()
    expect(whyApart({ timeline: 2, lsn: 0x110n }, historyDetails(HISTORY.slice(0, 1)), HISTORY, 5)).toBeUndefined()
    const branch = [...HISTORY.slice(0, 2), { timeline: 4, leftAt: 0x2f0n }]
    expect(whyApart(place, historyDetails(branch), HISTORY, 5)).toContain('timeline 4 was left at 0/300, not at 0/2F0')
    const other = [{ timeline: 3, leftAt: 0x100n }]
    expect(whyApart(place, historyDetails(other), HISTORY, 5)).toContain('no known place')
  })

  test('cuts the log into spans without a gap, each on its timeline', () => {
    const lsn = fc.integer({ min: 0, max: 0x400 }).map(BigInt)
    fc.assert(
      fc.property(lsn, lsn, (one, other) => {
        const [from, to] = one < other ? [one, other] : [other, one]
        const end = to < 0x300n ? 0x300n : to
        const timeline = HISTORY.find(({ leftAt }) => from < leftAt)?.timeline ?? 5
        const spans = spansBetween({ timeline, lsn: from }, { timeline: 5, lsn: end }, HISTORY)
        expect(spans[0]?.begin).toBe(from)
        expect(spans.at(-1)?.end).toBe(end < from ? from : end)
        for (const [index, span] of spans.entries()) {
          if (index > 0) expect(span.begin).toBe(spans[index - 1]?.end)
          expect(whyNotOn({ timeline: span.timeline, lsn: span.end }, HISTORY, 5)).toBeUndefined()
          if (spans.length > 1) expect(span.end).toBeGreaterThan(span.begin)
        }
      }),
    )
  })

  test('a log of no change is one empty span', () => {
    const place = { timeline: 5, lsn: 0x333n }
    expect(spansBetween(place, place, HISTORY)).toEqual([{ timeline: 5, begin: 0x333n, end: 0x333n }])
    const left = { timeline: 4, lsn: 0x300n }
    expect(spansBetween(left, { timeline: 5, lsn: 0x300n }, HISTORY)).toEqual([
      { timeline: 5, begin: 0x300n, end: 0x300n },
    ])
  })
})
