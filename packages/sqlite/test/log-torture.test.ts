import { writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { describe, expect, vi } from 'vitest'
import { createLedger, readLedger } from './support/ledger.ts'
import { test } from './support/place.ts'
import { kill, startWriter } from './support/processes.ts'
import { stateOf, track } from './support/tracking.ts'

vi.setConfig({ testTimeout: 300_000 })

/** `TASKFLOW_LOOKS=100000` for a long night. */
const LOOKS = Number(process.env.TASKFLOW_LOOKS ?? 200)

describe('writers, and checkpoints of every mode by all of them', () => {
  test.for([
    { name: 'sealed all the time', sealBytes: 20_000 },
    { name: 'never sealed', sealBytes: Number.MAX_SAFE_INTEGER },
  ])('every commit is captured, $name', async ({ sealBytes }, { place }) => {
    createLedger(place.file, { pageSize: 1024, autoVacuum: 2 })
    const keeper = new Database(place.file)
    const state = stateOf(place.file)
    const tracking = track(place, state, { limits: { sealBytes, sealWaitMs: 20 } })
    await tracking.lookAndCheck() // from here on it stands on the log
    const orders = { files: [place.file], pauseMs: 1, checkpoint: 0.3, vacuum: 0.01, spill: 0.02 }
    /** A checkpoint waits for us while it keeps writers waiting, so it is looked all the time. */
    const looking = async <T>(work: Promise<T>): Promise<T> => {
      let isDone = false
      const done = work.finally(() => (isDone = true))
      done.catch(() => {}) // thrown below
      for (; !isDone; await setTimeout(5)) await tracking.tracker.look()
      return done
    }
    const [first, second, { child: victim }] = await looking(
      Promise.all([
        place.writer({ ...orders, writer: 1 }),
        place.writer({ ...orders, writer: 2, checkpoint: 0.8 }),
        startWriter({ ...orders, writer: 3 }),
      ]),
    )
    place.track(victim)
    const generations = new Set<string>()
    for (let look = 1; look <= LOOKS; look++) {
      await tracking.tracker.look()
      if (look === LOOKS / 2) await kill(victim)
      if (look % 20 !== 0) continue
      const steps = await tracking.store()
      for (const { mark } of steps) if (mark) generations.add(mark.salts)
      // What was captured so far is the state of one commit.
      const file = place.path(`at-${look}.db`)
      writeFileSync(file, tracking.bytes)
      expect(readLedger(file)).toMatchObject({ integrity: 'ok', faults: [] })
    }
    const reports = await looking(Promise.all([first.stop(), second.stop()]))
    expect(reports.flatMap(({ unexpected }) => unexpected)).toEqual([])
    await tracking.lookAndCheck()
    keeper.close()
    expect(tracking.steps.filter(({ how, commits }) => how !== 'log' && commits.length > 0)).toEqual([])
    expect(generations.size).toBeGreaterThan(3)
  })
})
