import { describe, expect, vi } from 'vitest'
import { KillSite } from './support/kill-site.ts'
import type { KillJob } from './support/kill-worker.ts'
import { randomFrom } from './support/ledger.ts'
import { Place, test } from './support/place.ts'

vi.setConfig({ testTimeout: 900_000 })

/** `TASKFLOW_KILLS=2000` for a long night. */
const KILLS = Number(process.env.TASKFLOW_KILLS ?? 100)
const SEED = Number(process.env.TASKFLOW_SEED ?? Date.now() % 1_000_000)
const LANES = 3
const JOBS: readonly KillJob[] = ['backup', 'restore', 'prune', 'restore', 'undo']

describe.skipIf(process.platform !== 'linux')('killed at random moments', () => {
  test(`${KILLS} times: no half backup, an old or a new database, nothing left over, no stuck lock`, async ({
    place,
  }) => {
    const hits = new Map<string, number>()
    let left = KILLS
    const lane = async (number: number): Promise<void> => {
      const own = await Place.make()
      place.atEnd(() => own.clear())
      const site = new KillSite(own, randomFrom(SEED + number))
      await site.prepare()
      while (left > 0) {
        const job = JOBS[left-- % JOBS.length] as KillJob
        const hit = await site.kill(job)
        hits.set(hit, (hits.get(hit) ?? 0) + 1)
      }
    }
    const stopOthers = (error: unknown): never => {
      left = 0
      throw error
    }
    const lanes = await Promise.allSettled(Array.from({ length: LANES }, (_, number) => lane(number).catch(stopOthers)))
    const lines = [...hits].sort().map(([hit, count]) => `${String(count).padStart(5)}  ${hit}`)
    console.log([`kills by the last thing said before (seed ${SEED}):`, ...lines].join('\n'))
    for (const outcome of lanes) if (outcome.status === 'rejected') throw outcome.reason
    // It is no use to kill before the work begins, or when it is done: many different moments must have been hit.
    const inTheMiddle = [...hits.keys()].filter((hit) => !/: (start|done|before.*)$/.test(hit))
    expect(inTheMiddle.length).toBeGreaterThanOrEqual(Math.min(12, KILLS / 10))
  })
})
