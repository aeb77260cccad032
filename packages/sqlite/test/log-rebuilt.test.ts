import { closeSync, openSync, statSync, truncateSync, writeSync } from 'node:fs'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { type Place, test } from './support/place.ts'
import { stateOf, track } from './support/tracking.ts'

// SQLite builds the index of a log anew where a writer was killed while it wrote to it; here it is made so by hand.

const FRAME_BYTES = 24 + 4096

/** Not closed before the end: that drops the locks that this process has on it. */
function indexOf(place: Place): { readonly damage: () => void } {
  const index = openSync(`${place.file}-shm`, 'r+')
  place.atEnd(() => closeSync(index))
  return { damage: () => void writeSync(index, Buffer.alloc(96, 0xff), 0, 96, 0) }
}

function openApp(place: Place) {
  const app = new Database(place.file, { timeout: 0 })
  place.atEnd(() => app.close())
  app.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (v); INSERT INTO t VALUES (0)')
  const tracking = track(place, stateOf(place.file))
  return { app, tracking, ...indexOf(place) }
}

test('the log goes on where its index is built anew: also when all of it is in the main file', async ({ place }) => {
  const { app, tracking, damage } = openApp(place)
  await tracking.lookAndCheck()
  for (let round = 0; round < 6; round++) {
    app.exec(`UPDATE t SET v = ${round}`)
    if (round % 2 === 0) app.pragma('wal_checkpoint(PASSIVE)')
    if (round % 3 === 0) await tracking.tracker.look()
    damage()
    app.exec('CREATE TABLE IF NOT EXISTS u (v); INSERT INTO u VALUES (0)')
    await tracking.lookAndCheck()
  }
  expect(tracking.steps.map(({ how }) => how)).not.toContain('comparison')
})

test('the log lost its end while it was followed: it is compared', async ({ place }) => {
  const { app, tracking, damage } = openApp(place)
  await tracking.lookAndCheck()
  const log = `${place.file}-wal`
  app.exec('UPDATE t SET v = 1')
  const length = statSync(log).size
  app.exec('UPDATE t SET v = 2')
  expect(statSync(log).size).toBe(length + FRAME_BYTES)
  await tracking.lookAndCheck()
  truncateSync(log, length)
  damage()
  expect(await tracking.lookAndCheck()).toMatchObject([{ how: 'comparison' }])
  app.exec('UPDATE t SET v = 3')
  expect(await tracking.lookAndCheck()).toMatchObject([{ how: 'log' }])
})
