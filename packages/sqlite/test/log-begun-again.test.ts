import { copyFileSync, rmSync } from 'node:fs'
import { describe, expect } from 'vitest'
import type { Step } from '../src/changes/format.ts'
import { type Place, test } from './support/place.ts'
import type { Agent } from './support/processes.ts'
import { checkpoint, commitsOf, exec, hows, startApp, write } from './support/tracked-app.ts'
import { stateOf, track } from './support/tracking.ts'

describe('begun again', () => {
  const restart = async (
    place: Place,
    work: (app: Agent, place: Place) => Promise<unknown>,
  ): Promise<readonly Step[]> => {
    const app = await startApp(place)
    const state = stateOf(place.file)
    expect(state.start.mark).toBeDefined()
    await work(app, place)
    const steps = await track(place, state).lookAndCheck()
    return steps
  }

  test('goes on where the base ended', async ({ place }) => {
    const steps = await restart(place, (app) => write(app, 7))
    expect(hows(steps)).toEqual(['log'])
    expect(commitsOf(steps)).toBe(7)
  })

  test('also when all of it is in the main file already', async ({ place }) => {
    const steps = await restart(place, async (app) => {
      await write(app, 7)
      await checkpoint(app, place, 'FULL')
    })
    expect(hows(steps)).toEqual(['log'])
  })

  const EVENTS: Record<string, (app: Agent, place: Place) => Promise<unknown>> = {
    'a log begun anew': async (app, place) => {
      await checkpoint(app, place, 'RESTART')
      await write(app)
    },
    'a log cut to nothing': async (app, place) => {
      await write(app)
      await checkpoint(app, place, 'TRUNCATE')
    },
    'writes in rollback-journal mode': (app) =>
      exec(app, 'PRAGMA journal_mode = delete;DELETE FROM t WHERE id % 2;VACUUM;PRAGMA journal_mode = wal'),
    'the file replaced': async (app, place) => {
      await exec(app, `VACUUM INTO '${place.path('copy.db')}';DELETE FROM t`)
      await app.kill()
      for (const end of ['-wal', '-shm']) rmSync(place.file + end, { force: true })
      copyFileSync(place.path('copy.db'), place.file)
    },
  }
  test.for(Object.keys(EVENTS))('after %s it compares, with a reason', async (event, { place }) => {
    const steps = await restart(place, EVENTS[event] as (app: Agent, place: Place) => Promise<unknown>)
    expect(steps).toMatchObject([{ how: 'comparison', reason: expect.stringMatching(/\.$/) }])
  })
})
