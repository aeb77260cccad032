import { renameSync } from 'node:fs'
import Database from 'better-sqlite3'
import { expect, vi } from 'vitest'
import { type OpenSource, openSource } from '../src/child/open-source.ts'
import { takeSnapshot } from '../src/child/snapshot.ts'
import { type Place, test } from './support/place.ts'
import { stateOf, track } from './support/tracking.ts'

// SQLite goes on with the files that it has open; by their names there may be others meanwhile.

/** A database whose log holds so many frames, each of them a commit. */
function makeDatabase(place: Place, file: string, commits: number, value: string): Database.Database {
  const database = new Database(file, { timeout: 0 })
  place.atEnd(() => database.close())
  database.exec(
    'PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (v); INSERT INTO t VALUES (0)',
  )
  database.pragma('wal_checkpoint(TRUNCATE)')
  for (let i = 0; i < commits; i++) database.exec(`UPDATE t SET v = '${value} ${i}'`)
  expect(database.pragma('wal_checkpoint(NOOP)')).toMatchObject([{ log: commits }])
  return database
}

/** Another database, with a longer log, comes in the place of the file: when one of `connections` runs this, for the first time. */
function replaceAt(place: Place, name: 'exec' | 'pragma', sql: string): { isDone: boolean } {
  const other = place.path('other.db')
  makeDatabase(place, other, 20, 'other')
  const original = Database.prototype[name] as (...args: unknown[]) => unknown
  const replacing = { isDone: false }
  const spy = vi.spyOn(Database.prototype, name).mockImplementation(function (
    this: Database.Database,
    ...args: unknown[]
  ): never {
    if (args[0] === sql && !replacing.isDone) {
      for (const end of ['', '-wal', '-shm']) renameSync(other + end, place.file + end)
      replacing.isDone = true
    }
    return original.apply(this, args) as never
  })
  place.atEnd(() => spy.mockRestore())
  return replacing
}

test('a file that is replaced while its log is looked at: nothing of the other log is captured', async ({ place }) => {
  const app = makeDatabase(place, place.file, 3, 'a')
  const tracking = track(place, stateOf(place.file))
  await tracking.lookAndCheck()
  app.exec("UPDATE t SET v = 'b'")
  const { bytes } = stateOf(place.file)
  const replacing = replaceAt(place, 'exec', 'BEGIN')
  await tracking.tracker.look()
  expect(replacing.isDone).toBe(true)
  await tracking.store()
  expect(tracking.bytes.equals(bytes)).toBe(true)
  expect(await tracking.lookAndCheck()).toMatchObject([
    { how: 'comparison', reason: 'The database file was replaced.' },
  ])
})

test('a file that is replaced while its image is begun: nothing of the other log is in it', ({ place }) => {
  makeDatabase(place, place.file, 3, 'a')
  const source = openSource(place.file, 0) as OpenSource & { connection: Database.Database }
  place.atEnd(() => source.connection.close())
  const replacing = replaceAt(place, 'pragma', 'page_size')
  expect(() => takeSnapshot(source, source.connection, 0)).toThrow(expect.objectContaining({ code: 'SOURCE_BUSY' }))
  expect(replacing.isDone).toBe(true)
})
