import { copyFileSync, rmSync } from 'node:fs'
import Database from 'better-sqlite3'
import { expect, vi } from 'vitest'
import { ChangeStore } from '../src/child/change-store.ts'
import { type Place, test } from './support/place.ts'
import { stateOf, track } from './support/tracking.ts'

// Nobody of ours stood on the log before. When all of it is in the main file, an app may begin it anew while it is read.

const PAGE = 4096

/** An app with so many frames in its log that no backup has, of which a checkpoint was made. */
function appWithLog(place: Place, frames: number, mode: string) {
  const app = new Database(place.file)
  place.atEnd(() => app.close())
  app.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (v); CREATE TABLE u (v)')
  const state = stateOf(place.file)
  // The first page, the table's own, and those of what does not fit into it.
  app.prepare('INSERT INTO t VALUES (zeroblob(?))').run((frames - 2) * (PAGE - 4))
  const [{ log }] = app.pragma(`wal_checkpoint(${mode})`) as [{ log: number }]
  expect(log - (state.start.mark?.frame ?? 0)).toBe(frames)
  return { app, state }
}

const MOST = Math.floor(2 ** 26 / (PAGE + 24))

test.for([
  { what: 'as many as are kept', frames: MOST, mode: 'FULL', how: 'log' },
  { what: 'one more than are kept', frames: MOST + 1, mode: 'FULL', how: 'comparison' },
  { what: 'more, not all of them in the main file', frames: MOST + 1, mode: 'NOOP', how: 'log' },
])('frames, $what: what is captured is what was verified', async ({ frames, mode, how }, { place }) => {
  const { app, state } = appWithLog(place, frames, mode)
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

test('another history of the same log, just as long, is no log to go on with', async ({ place }) => {
  const copies = ['', '-wal'].map((end) => [place.file + end, place.path(`copy.db${end}`)] as const)
  const app = await place.agent()
  const begin = (insert: string) =>
    app.run(
      ({ Database, held }, { file, insert }) => {
        held.app ??= new Database(file)
        held.app.exec(`PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; ${insert}`)
        const [{ log }] = held.app.pragma('wal_checkpoint(NOOP)') as [{ log: number }]
        return log
      },
      { file: place.file, insert },
    )
  await begin('CREATE TABLE t (v)')
  for (const [from, to] of copies) copyFileSync(from, to)
  const frames = await begin("INSERT INTO t VALUES ('a')")
  const state = stateOf(place.file)
  await app.kill() // else it would empty the log
  rmSync(`${place.file}-shm`)
  for (const [to, from] of copies) copyFileSync(from, to)
  const other = await place.agent()
  const log = await other.run(({ Database, held }, file) => {
    held.app = new Database(file)
    held.app.exec("PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES ('b')")
    return (held.app.pragma('wal_checkpoint(NOOP)') as [{ log: number }])[0].log
  }, place.file)
  expect(log).toBe(frames)
  const steps = await track(place, state, { follow: false }).lookAndCheck()
  expect(steps).toMatchObject([{ how: 'comparison' }])
})
