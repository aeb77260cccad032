import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Manifest } from '../src/index.ts'
import {
  type MergeCandidate,
  type MergeSettings,
  neighboursOf,
  planMerges,
  supersededLogs,
} from '../src/verbs/plan-merges.ts'

const MINUTE = 60_000

/** Logs one minute apart; levels fall from the oldest to the newest only by chance. */
const candidates = fc
  .array(
    fc.record({
      level: fc.integer({ min: 0, max: 3 }),
      thinned: fc.boolean(),
      plainBytes: fc.integer({ min: 0, max: 120 }),
      canBeLast: fc.boolean(),
    }),
    { maxLength: 80 },
  )
  .map((logs) => logs.map((log, index) => ({ ...log, id: `${index}`, consistentAt: new Date(index * MINUTE) })))

const settings = fc.record({
  most: fc.integer({ min: 2, max: 7 }),
  mostBytes: fc.integer({ min: 50, max: 1000 }),
  thinBefore: fc.option(
    fc.integer({ min: 0, max: 80 }).map((minutes) => new Date(minutes * MINUTE)),
    { nil: undefined },
  ),
})

const toSettings = ({ thinBefore, ...rest }: { most: number; mostBytes: number; thinBefore: Date | undefined }) =>
  ({ ...rest, ...(thinBefore && { thinBefore }) }) satisfies MergeSettings

/** The logs after each run's result has taken the place of its own. */
function merged(logs: readonly MergeCandidate[], runs: ReturnType<typeof planMerges>): MergeCandidate[] {
  let after = [...logs]
  for (const { ids, level, thin } of runs) {
    const from = after.findIndex(({ id }) => id === ids[0])
    const own = after.slice(from, from + ids.length)
    const last = own.at(-1) as MergeCandidate
    const plainBytes = own.reduce((sum, one) => sum + one.plainBytes, 0)
    const thinned = thin || own.some((one) => one.thinned)
    const one = {
      id: `${ids[0]}..${last.id}`,
      level,
      thinned,
      consistentAt: last.consistentAt,
      plainBytes,
      canBeLast: true,
    }
    after = [...after.slice(0, from), one, ...after.slice(from + ids.length)]
  }
  return after
}

/** A log as it was made, the first one at minute 0. */
const logAt = (minute: number, plainBytes: number): MergeCandidate => ({
  id: `${minute}`,
  level: 0,
  thinned: false,
  consistentAt: new Date(minute * MINUTE),
  plainBytes,
  canBeLast: true,
})

/** Logs that come one by one and are merged as planned: those that there are then, and the bytes that merging wrote. */
function flowOf(limits: MergeSettings) {
  let logs: MergeCandidate[] = []
  let made = 0
  const flow = {
    written: 0,
    add(plainBytes: number): readonly MergeCandidate[] {
      logs.push(logAt(made++, plainBytes))
      for (let runs = planMerges(logs, limits); runs.length > 0; runs = planMerges(logs, limits)) {
        const inputs = new Set(runs.flatMap(({ ids }) => ids))
        for (const log of logs) if (inputs.has(log.id)) flow.written += log.plainBytes
        logs = merged(logs, runs)
      }
      return logs
    },
  }
  return flow
}

describe('planMerges', () => {
  test('sixty small logs become one of the next level, and not one less does', () => {
    const logs = (count: number) => Array.from({ length: count }, (_, index) => logAt(index, 1))
    const plan = { most: 60, mostBytes: 1000 }
    expect(planMerges(logs(59), plan)).toEqual([])
    expect(planMerges(logs(130), plan).map(({ ids, level }) => [ids.length, ids[0], level])).toEqual([
      [60, '0', 1],
      [60, '60', 1],
    ])
  })

  test('runs are of neighbours, without overlap, and within the limits', () => {
    fc.assert(
      fc.property(candidates, settings, (logs, raw) => {
        const limits = toSettings(raw)
        let next = 0
        for (const { ids, thin } of planMerges(logs, limits)) {
          const from = logs.findIndex(({ id }) => id === ids[0])
          expect(from).toBeGreaterThanOrEqual(next)
          next = from + ids.length
          const own = logs.slice(from, next)
          expect(own.map(({ id }) => id)).toEqual(ids)
          expect(ids.length).toBeLessThanOrEqual(limits.most)
          expect(own.at(-1)?.canBeLast).toBe(true)
          if (ids.length > 1)
            expect(own.reduce((sum, one) => sum + one.plainBytes, 0)).toBeLessThanOrEqual(limits.mostBytes)
          // What is to be thinned is never put together with what is not, nor with what was.
          const { thinBefore } = limits
          for (const log of own)
            expect(thin).toBe(thinBefore !== undefined && !log.thinned && log.consistentAt < thinBefore)
          expect(new Set(own.map(({ thinned }) => thinned)).size).toBe(1)
        }
      }),
    )
  })

  test('planning again and again ends, with few logs, and everything worth it thinned', () => {
    fc.assert(
      fc.property(candidates, settings, (start, raw) => {
        const limits = toSettings(raw)
        let logs: MergeCandidate[] = start
        let rounds = 0
        for (; ; rounds++) {
          const runs = planMerges(logs, limits)
          if (runs.length === 0) break
          logs = merged(logs, runs)
        }
        expect(rounds).toBeLessThanOrEqual(start.length + 1)
        expect(planMerges(logs, limits)).toEqual([])
        const { thinBefore } = limits
        for (const { level, thinned, consistentAt, canBeLast } of logs) {
          if (level > 0 && canBeLast && thinBefore && consistentAt < thinBefore) expect(thinned).toBe(true)
        }
      }),
    )
  })

  test('a steady flow stays few logs, and each byte is written once per level', () => {
    const flow = flowOf({ most: 4, mostBytes: 1_000_000 })
    for (let minute = 0; minute < 1000; minute++) {
      // Three of each of the five levels of a number below 1024 in base 4.
      expect(flow.add(1).length).toBeLessThanOrEqual(15)
    }
    expect(flow.written).toBeLessThanOrEqual(4 * 1000)
  })

  test('few large logs stay as they are: the bytes of a busy flow are written once more, not at each level', () => {
    const after = (count: number, plainBytes: number) => {
      const flow = flowOf({ most: 60, mostBytes: 256 })
      let logs: readonly MergeCandidate[] = []
      for (let n = 0; n < count; n++) logs = flow.add(plainBytes)
      return { logs, written: flow.written }
    }
    const busy = after(600, 1.7)
    expect(busy.logs.map(({ level }) => level)).toEqual(new Array(10).fill(1))
    expect(busy.written).toBeCloseTo(600 * 1.7)
    expect(after(100, 30).logs.at(0)?.plainBytes).toBe(240)
    expect(after(100, 40)).toMatchObject({ logs: { length: 100 }, written: 0 })
  })

  test('what is thinned becomes one also when there are few of them', () => {
    const logs = [0, 1].map((index) => ({ ...logAt(index, 100), level: 1 }))
    const thinBefore = new Date(10 * MINUTE)
    expect(planMerges(logs, { most: 60, mostBytes: 256 })).toEqual([])
    expect(planMerges(logs, { most: 60, mostBytes: 256, thinBefore })).toEqual([
      { ids: ['0', '1'], level: 2, thin: true },
    ])
  })
})

const comparePositions = (a: string, b: string): number => Number(a) - Number(b)

/** A manifest as far as these functions look at it. */
const log = (begin: number, end: number, level?: number, minute = end): Manifest =>
  ({
    id: `c/${String(minute).padStart(4, '0')}${level ?? ''}`,
    kind: 'log',
    consistentAt: new Date(minute * MINUTE).toISOString(),
    position: { begin: `${begin}`, end: `${end}` },
    source: { name: 'x', engineVersion: '1', ...(level !== undefined && { details: { level } }) },
  }) as unknown as Manifest

describe('supersededLogs', () => {
  test('a merged log stands for what it covers, and no other log does', () => {
    const small = [log(0, 1), log(1, 2), log(2, 2, undefined, 3), log(2, 4), log(4, 5)]
    const whole = log(0, 4, 1)
    const found = supersededLogs({ comparePositions }, [...small, whole])
    expect([...found.keys()].sort()).toEqual(small.slice(0, 4).map(({ id }) => id))
    expect(new Set(found.values())).toEqual(new Set([whole.id]))
    expect(supersededLogs({ comparePositions }, [...small, log(0, 5, undefined, 6)]).size).toBe(0)
  })

  test('a log of no change that tells of a later time stays', () => {
    const later = log(4, 4, undefined, 9)
    expect(supersededLogs({ comparePositions }, [log(0, 4, 1), later]).size).toBe(0)
  })

  test('of two merged logs of the same range the newer one stays', () => {
    const [older, newer] = [log(0, 4, 1), { ...log(0, 4, 1), id: 'c/0005' }]
    expect([...supersededLogs({ comparePositions }, [newer, older])]).toEqual([[older.id, newer.id]])
  })
})

test('neighbours follow on one another; a gap and an overlap begin new ones', () => {
  const [a, still, b, gap, c, overlap] = [
    log(0, 1),
    log(1, 1, undefined, 2),
    log(1, 3),
    log(4, 5),
    log(5, 6),
    log(5, 7),
  ]
  const runs = neighboursOf({ comparePositions }, [c, overlap, b, still, gap, a])
  expect(runs.map((run) => run.map(({ id }) => id))).toEqual([[a.id, still.id, b.id], [gap.id, c.id], [overlap.id]])
})
