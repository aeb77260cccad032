import { createHash } from 'node:crypto'
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type BackupError, mergeLogs, recoveryWindow } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect, vi } from 'vitest'
import { randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'
import { unexplainedGaps } from './support/time-travel/gaps.ts'
import { readHistory } from './support/time-travel/history.ts'
import { type CapturedChain, capturedChains } from './support/time-travel/oracle.ts'
import { Stage } from './support/time-travel/stage.ts'
import { chainAt, randomMoment, restoreTo, statesAt, windowFaults } from './support/time-travel/targets.ts'

vi.setConfig({ testTimeout: 3_600_000 })

/** `TASKFLOW_MOMENTS=100`: to so many moments, and a quarter as many commits, is recovered. */
const MOMENTS = Number(process.env.TASKFLOW_MOMENTS ?? 20)
/** Everything happens at least once; again and again until so many seconds have passed. */
const SECONDS = Number(process.env.TASKFLOW_SECONDS ?? 0)
/** `TASKFLOW_KEEP=DIR`: there a copy of everything stays, to look into. */
const KEEP = process.env.TASKFLOW_KEEP
const SEED = Number(process.env.TASKFLOW_SEED ?? Date.now() % 1_000_000)

/** All write at full speed when this event happens, the one after two more, and so on. */
const HURRY_EVERY = 3

/** What is old keeps a moment in so long. */
const THINNED_MS = 3_000

/** Restores to random moments and commits, and holds each against what the stored bytes say. */
async function checkTargets(
  place: Place,
  stage: Stage,
  chains: readonly CapturedChain[],
  { moments, random }: { moments: number; random: () => number },
) {
  const file = place.path('restored.db')
  for (let i = 0; i < moments; i++) {
    const at = randomMoment(chains, random)
    const restored = await restoreTo(stage.plan, file, { at })
    expect.soft({ at, faults: restored.faults }).toEqual({ at, faults: [] })
    const allowed = statesAt(chains, at.getTime()).map(({ sha256 }) => sha256)
    expect.soft({ at, sha256: restored.sha256 }).toEqual({ at, sha256: expect.toBeOneOf(allowed) })
  }
  for (const chain of chains) {
    for (const { commit, time, sha256 } of chain.commits) {
      if (chain !== chainAt(chains, time)) continue // the clock was put back in between
      // Also one that a differential leads past: nothing that was captured is unreachable.
      const restored = await restoreTo(stage.plan, file, { at: new Date(time), stopAtCommit: commit }).catch(
        ({ code, message }: BackupError) => `${code}: ${message}`,
      )
      const about = { commit, time }
      expect.soft({ ...about, restored }).toEqual({ ...about, restored: { sha256, faults: [] } })
    }
  }
}

/** What holds for all that is stored, whatever happened. */
async function checkStored(stage: Stage, chains: readonly CapturedChain[]) {
  expect(chains.flatMap(({ faults }) => faults)).toEqual([])
  const window = await recoveryWindow(stage.plan)
  expect(windowFaults(window, chains)).toEqual([])
  expect(unexplainedGaps(window, chains, stage)).toEqual([])
  for (const state of chains.flatMap(({ full, steps, differentials }) => [full, ...steps, ...differentials])) {
    const { clock } = state.mark
    // While the app's clock was another one, the two cannot be compared.
    if (stage.steppedBack.some(({ from, until }) => clock >= from && clock <= until + 1000)) continue
    expect.soft({ ...state, late: Math.max(0, clock - state.time) }).toEqual({ ...state, late: 0 })
  }
}

describe.skipIf(process.platform !== 'linux')('a followed history', () => {
  test('is captured whole, whatever happens to it', async ({ place }) => {
    const random = randomFrom(SEED)
    const told = [`seed ${SEED}`]
    const startedMs = performance.now()
    const keep = (name: string): void => {
      if (KEEP) cpSync(place.folder, join(KEEP, `history-${SEED}`, name), { recursive: true })
    }
    const tell = (text: string): void => void told.push(`${Math.round(performance.now() - startedMs)} ms: ${text}`)
    try {
      const stage = new Stage(place, random)
      await stage.begin(random() < 0.5 ? 1024 : 4096)
      const untilMs = performance.now() + SECONDS * 1000
      do {
        for (const [index, [name, happen]] of stage.events().entries()) {
          await stage.pause()
          const hurried = index % HURRY_EVERY === 0
          if (hurried) await stage.hurry()
          tell(hurried ? `${name}, at full speed` : name)
          await happen()
        }
      } while (performance.now() < untilMs)
      await stage.pause()
      await stage.end()

      tell('ended')
      const live = readHistory(place.file) // the last one out has put everything into the file
      const latest = await restoreTo(stage.plan, place.path('latest.db'), {})
      const sha256 = createHash('sha256').update(imageOf(place.file)).digest('hex')
      expect(live.faults).toEqual([])
      expect(latest).toEqual({ sha256, faults: [] })

      await mergeLogs(stage.plan) // removes what killed merges left in the newest chain
      const chains = capturedChains(place.backups, Math.ceil(MOMENTS / 4), random)
      for (const { chain, counts, gaps } of chains)
        tell([chain, counts, ...gaps].map((part) => JSON.stringify(part)).join(' '))
      tell('read')
      await checkStored(stage, chains)
      expect(chains.at(-1)?.steps.at(-1)).toMatchObject({ sha256, mark: live.mark })
      await checkTargets(place, stage, chains, { moments: MOMENTS, random })

      keep('before-thinning')
      tell('thinned')
      await mergeLogs(stage.planLater(), { resolutionMs: THINNED_MS })
      const thinned = capturedChains(place.backups, 2, random)
      await checkStored(stage, thinned)
      const statesOf = (all: readonly CapturedChain[]): string[] =>
        all.flatMap(({ steps, differentials, full }) => [full, ...differentials, ...steps].map((state) => state.sha256))
      expect(statesOf(chains)).toEqual(expect.arrayContaining(statesOf(thinned)))
      expect(statesOf(thinned).length).toBeLessThan(statesOf(chains).length)
      await checkTargets(place, stage, thinned, { moments: Math.ceil(MOMENTS / 4), random })
      expect(readdirSync(place.temporary)).toEqual([])
    } finally {
      keep('at-the-end')
      tell('done')
      console.log(told.join('\n'))
    }
  })
})

/** The bytes of a database that nobody has open: with nothing left in the log. */
function imageOf(file: string): Buffer {
  const database = new Database(file)
  const [{ busy }] = database.pragma('wal_checkpoint(TRUNCATE)') as [{ busy: number }]
  database.close()
  expect(busy).toBe(0)
  return readFileSync(file)
}
