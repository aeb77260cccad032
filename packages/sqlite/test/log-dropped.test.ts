import { describe, expect } from 'vitest'
import { test } from './support/place.ts'
import { commitsOf, hows, startApp, write } from './support/tracked-app.ts'
import { stateOf, track } from './support/tracking.ts'

describe('what cannot be kept', () => {
  test('more than may wait is dropped, and becomes a gap that says so', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file), { limits: { pendingBytes: 40_000 } })
    await tracking.lookAndCheck()
    for (let i = 0; i < 3; i++) {
      await write(app, 20)
      await tracking.tracker.look()
    }
    expect(tracking.tracker.captured.isPending).toBe(false)
    const steps = await tracking.lookAndCheck()
    expect(steps).toMatchObject([{ how: 'comparison', reason: 'More was waiting for the destination than is kept.' }])
    await write(app)
    expect(hows(await tracking.lookAndCheck())).toEqual(['log'])
  })

  test.for([0, 1, 60])('what is dropped while %i commits are written is behind them', async (commits, { place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await write(app, commits)
    await tracking.tracker.look()
    const written = await tracking.store(async () => {
      await write(app, 20)
      await tracking.tracker.look()
      tracking.tracker.drop('It was too much.')
      await write(app, 2)
      await tracking.tracker.look()
      await write(app, 3)
      await tracking.tracker.look()
    })
    expect(commitsOf(written)).toBe(commits)
    const steps = await tracking.lookAndCheck()
    expect(steps).toMatchObject([{ how: 'comparison', reason: 'It was too much.' }, { how: 'log' }])
    expect(steps[0]?.since).toBeLessThanOrEqual(steps[0]?.lookedAt as number)
  })

  test('where the log is now is not told of what is before something that was dropped', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await write(app, 3)
    await tracking.tracker.look()
    tracking.tracker.drop('It was too much.')
    const [nothing] = await tracking.store()
    expect(nothing?.commits).toEqual([])
    expect(nothing?.mark).toBeUndefined()
  })
})
