import { expect } from 'vitest'
import { CaptureClock } from '../src/child/clock.ts'
import { test } from './support/place.ts'
import { exec, startApp, write } from './support/tracked-app.ts'
import { stateOf, track } from './support/tracking.ts'

const HOUR_MS = 3_600_000
const BEGIN = Date.parse('2026-01-01T12:00:00Z')

/** A machine whose clock a test sets. */
function machine({ skewMs = 0 } = {}) {
  const now = { wall: BEGIN, monotonic: 0 }
  const clock = new CaptureClock(BEGIN, skewMs, { wall: () => now.wall, monotonic: () => now.monotonic })
  const pass = (ms: number): void => {
    now.wall += ms
    now.monotonic += ms
  }
  const set = (ms: number): void => {
    now.wall += ms
  }
  return { clock, pass, set }
}

test('a clock that is put back goes on from where it was, until it is right again', () => {
  const { clock, pass, set } = machine()
  pass(1_000)
  expect(clock.now()).toBe(BEGIN + 1_000)
  set(-HOUR_MS)
  expect(clock.now()).toBe(BEGIN + 1_000)
  pass(2_500)
  expect(clock.now()).toBe(BEGIN + 3_500)
  for (let i = 0; i < 10; i++) {
    pass(0.25) // parts of a millisecond never make it run ahead
    clock.now()
  }
  expect(clock.now()).toBeLessThanOrEqual(BEGIN + 3_502)
  set(HOUR_MS)
  expect(clock.now()).toBe(BEGIN + 3_503)
})

test('no time is before that of another chain, nor without the skew of the plan’s clock', () => {
  const { clock, pass } = machine({ skewMs: -HOUR_MS })
  expect(clock.now()).toBe(BEGIN) // the newest backup is from then
  clock.atLeast(BEGIN + 500)
  pass(100)
  expect(clock.now()).toBe(BEGIN + 600)
  pass(HOUR_MS + 1_000)
  expect(clock.now()).toBe(BEGIN + HOUR_MS + 1_600)
})

test('commits that are captured after the clock was put back come later, and are no gap', async ({ place }) => {
  const app = await startApp(place)
  const { bytes, start } = stateOf(place.file)
  const { clock, pass, set } = machine()
  const state = { bytes, start: { ...start, capturedAt: BEGIN, notBefore: BEGIN } }
  const tracking = track(place, state, { clock })
  const captured = async (): Promise<object[]> => {
    await write(app, 2)
    const steps = await tracking.lookAndCheck()
    return steps.map(({ how, since, capturedAt }) => ({ how, since: since && since - BEGIN, at: capturedAt - BEGIN }))
  }
  pass(1_000)
  expect(await captured()).toEqual([{ how: 'log', since: 0, at: 1_000 }])
  set(-HOUR_MS)
  pass(1_000)
  expect(await captured()).toEqual([{ how: 'log', since: 1_000, at: 2_000 }])
  pass(1_000)
  tracking.tracker.drop('It was too much.')
  expect(await captured()).toEqual([{ how: 'comparison', since: 2_000, at: 3_000 }])
  set(HOUR_MS + 60_000) // a minute too much
  expect(await captured()).toEqual([{ how: 'log', since: 3_000, at: 63_000 }])
  set(-60_000)
  pass(10)
  expect(await captured()).toEqual([{ how: 'log', since: 63_000, at: 63_010 }])
})

test('one who begins to follow while the clock is behind goes on from the newest backup', async ({ place }) => {
  const app = await startApp(place)
  const { bytes, start } = stateOf(place.file)
  await exec(app, "INSERT INTO t (v) VALUES ('later')")
  const { clock, pass, set } = machine()
  set(-HOUR_MS)
  pass(20)
  const tracking = track(place, { bytes, start: { ...start, capturedAt: BEGIN, notBefore: BEGIN } }, { clock })
  expect(await tracking.lookAndCheck()).toMatchObject([{ since: BEGIN, lookedAt: BEGIN + 20, capturedAt: BEGIN + 20 }])
})
