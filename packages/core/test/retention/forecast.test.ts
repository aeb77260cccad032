import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { CatalogEntry } from '../../src/contracts/backup.ts'
import type { RetentionPolicy } from '../../src/contracts/policy.ts'
import { decideRetention } from '../../src/retention/decide.ts'
import { forecastRetention } from '../../src/retention/forecast.ts'
import { keepAll } from '../../src/retention/keep-all.ts'
import { keepLast } from '../../src/retention/keep-last.ts'
import { defaultRetention, keepWithin } from '../../src/retention/keep-within.ts'
import { DAY_MS, entry, histories, keepWithinPolicies, SEED } from './histories.ts'

/** Lives through the days one by one: a backup, then a prune. */
function liveThrough(
  policy: RetentionPolicy,
  history: readonly CatalogEntry[],
  now: Date,
  days: number,
): (string | undefined)[] {
  const fulls = history.filter(({ kind }) => kind === 'full')
  const base = Math.max(...fulls.map(({ startedAt }) => startedAt.getTime()))
  const gone = new Map<string, string>()
  let present: readonly CatalogEntry[] = history
  for (let time = base; time <= now.getTime() + days * DAY_MS; time += DAY_MS) {
    const date = time === base ? now : new Date(time)
    if (date < now) continue
    if (date > now)
      present = [...present, entry(date, { verified: 'restored', id: `new ${time}`, chain: `new ${time}` })]
    const decisions = decideRetention(policy, present, date)
    for (const { id, keep } of decisions) if (!keep) gone.set(id, date.toISOString())
    present = present.filter((_, index) => decisions[index]?.keep)
  }
  return history.map(({ id }) => gone.get(id))
}

const day = (date: string): Date => new Date(`${date}T02:00:00Z`)

describe('forecastRetention', () => {
  it('tells what happens day by day', async () => {
    let removed = 0
    await fc.assert(
      fc.asyncProperty(
        keepWithinPolicies,
        histories,
        fc.integer({ min: 0, max: 100 }),
        async (policy, history, hours) => {
          const now = new Date((history.at(-1)?.startedAt.getTime() ?? 0) + hours * 3_600_000)
          const forecast = await forecastRetention(policy, history, now, { horizon: '45d' })
          expect(forecast.map(({ id }) => id)).toEqual(history.map(({ id }) => id))
          expect(forecast.map(({ removedAt }) => removedAt?.toISOString())).toEqual(
            liveThrough(policy, history, now, 45),
          )
          removed += forecast.filter(({ removedAt }) => removedAt !== undefined && removedAt > now).length
        },
      ),
      { ...SEED, numRuns: 25 },
    )
    expect(removed).toBeGreaterThan(50)
  })

  it('gives the dates that a person would give', async () => {
    const entries = ['2026-11-20', '2026-11-21', '2026-11-22'].map((date) => entry(day(date)))
    const forecast = await forecastRetention(keepWithin({ daily: '30d' }), entries, day('2026-11-22'), {
      horizon: '1y',
    })
    expect(forecast.map(({ removedAt }) => removedAt)).toEqual([
      day('2026-12-20'),
      day('2026-12-21'),
      day('2026-12-22'),
    ])
  })

  it('takes other intervals, from the newest full on', async () => {
    const entries = [entry(day('2026-08-31')), entry(day('2026-10-31'))]
    const forecast = await forecastRetention(keepLast(2), entries, day('2026-12-15'), { every: '1mo' })
    expect(forecast.map(({ removedAt }) => removedAt)).toEqual([day('2026-12-31'), day('2027-01-31')])
  })

  it('lets the newest verified full go when a new one takes its place, but nothing that is on hold', async () => {
    const entries = [
      entry(day('2026-11-20'), { held: true }),
      entry(day('2026-11-21'), { verified: 'restored' }),
      entry(day('2026-11-22')),
    ]
    const forecast = await forecastRetention(keepLast(1), entries, day('2026-11-22'), { horizon: '30d' })
    expect(forecast.map(({ removedAt }) => removedAt)).toEqual([undefined, day('2026-11-23'), day('2026-11-23')])
  })

  it('leaves out what stays beyond the horizon', async () => {
    const entries = [entry(day('2026-11-21')), entry(day('2026-11-22'))]
    const within = async (horizon: string): Promise<boolean[]> =>
      (await forecastRetention(keepLast(3), entries, day('2026-11-22'), { horizon })).map(
        ({ removedAt }) => removedAt !== undefined,
      )
    expect(await within('1d')).toEqual([false, false])
    expect(await within('2d')).toEqual([true, false])
    expect(await within('3d')).toEqual([true, true])
  })

  it('lets others work meanwhile', async () => {
    const entries = Array.from({ length: 60 }, (_, index) =>
      entry(new Date(day('2026-11-22').getTime() - index * 40 * DAY_MS)),
    )
    let turns = 0
    let running = true
    const count = (): void => {
      turns += 1
      if (running) setImmediate(count)
    }
    setImmediate(count)
    const forecast = await forecastRetention(defaultRetention, entries, day('2026-11-22'), { horizon: '3y' })
    running = false
    expect(turns).toBeGreaterThan(20)
    expect(forecast.some(({ removedAt }) => removedAt !== undefined)).toBe(true)
  })

  it('stops when it is told to', async () => {
    const entries = [entry(day('2026-11-22'))]
    const aborted = expect.objectContaining({ code: 'ABORTED' })
    await expect(
      forecastRetention(defaultRetention, entries, day('2026-11-22'), { signal: AbortSignal.abort() }),
    ).rejects.toThrow(aborted)
    const controller = new AbortController()
    setImmediate(() => controller.abort())
    const forever = forecastRetention(keepAll(), entries, day('2026-11-22'), {
      every: '1h',
      horizon: '500y',
      signal: controller.signal,
    })
    await expect(forever).rejects.toThrow(aborted)
  })

  it.each<[object]>([[{ every: '0d' }], [{ every: 'daily' }], [{ horizon: '10' }], [{ horizion: '1y' }]])(
    'refuses %j',
    async (options) => {
      const forecast = forecastRetention(defaultRetention, [], day('2026-11-22'), options)
      await expect(forecast).rejects.toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
    },
  )

  it('gives nothing for nothing', async () => {
    expect(await forecastRetention(defaultRetention, [], day('2026-11-22'))).toEqual([])
  })
})
