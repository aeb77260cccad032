import Database from 'better-sqlite3'
import { expect, vi } from 'vitest'
import { ChangeStore } from '../src/child/change-store.ts'
import { type Place, test } from './support/place.ts'
import { stateOf, track } from './support/tracking.ts'

// All of the log is in the main file, and nobody stood on it before: an app may begin it anew while it is read.

const PAGE = 4096

/** An app with so many frames in its log that no backup has, all of them in the main file. */
function appWithLog(place: Place, frames: number) {
  const app = new Database(place.file)
  place.atEnd(() => app.close())
  app.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (v); CREATE TABLE u (v)')
  const state = stateOf(place.file)
  // The first page, the table's own, and those of what does not fit into it.
  app.prepare('INSERT INTO t VALUES (zeroblob(?))').run((frames - 2) * (PAGE - 4))
  const [{ log }] = app.pragma('wal_checkpoint(FULL)') as [{ log: number }]
  expect(log - (state.start.mark?.frame ?? 0)).toBe(frames)
  return { app, state }
}

test.for([
  { bytes: 'just as many as are kept', frames: Math.floor(2 ** 26 / (PAGE + 24)), how: 'log' },
  { bytes: 'one frame more', frames: Math.floor(2 ** 26 / (PAGE + 24)) + 1, how: 'comparison' },
])('$bytes: what is captured is what was verified', async ({ frames, how }, { place }) => {
  const { app, state } = appWithLog(place, frames)
  const { bytes: verified } = stateOf(place.file)
  const tracking = track(place, state, { follow: false })
  const { begin } = ChangeStore.prototype
  const spy = vi.spyOn(ChangeStore.prototype, 'begin').mockImplementation(function (this: ChangeStore) {
    spy.mockRestore()
    begin.call(this)
    app.exec('UPDATE t SET v = randomblob(100000)') // now that all of it was verified
  })
  await tracking.tracker.look()
  const steps = await tracking.store()
  expect(tracking.bytes.equals(verified)).toBe(true)
  expect(steps).toMatchObject([{ how }])
})
