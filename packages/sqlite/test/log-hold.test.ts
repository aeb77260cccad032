import Database from 'better-sqlite3'
import { expect, vi } from 'vitest'
import { Captured } from '../src/child/captured.ts'
import { type Place, test } from './support/place.ts'
import { stateOf, track } from './support/tracking.ts'

// Whoever follows stands on the log, so that it is not begun anew before it was captured: also after a look that failed.

/** The `nth` time from now that a connection other than the app's runs this, it fails, once. */
function failAt(place: Place, app: Database.Database, sql: string, nth: number): { readonly left: number } {
  const failing = { left: nth }
  const failWhenDue = (connection: Database.Database, text: string): void => {
    if (connection === app || text !== sql || failing.left === 0 || --failing.left > 0) return
    throw Object.assign(new Error('disk I/O error'), { code: 'SQLITE_IOERR' })
  }
  const statements = Object.getPrototypeOf(app.prepare('SELECT 1')) as Database.Statement
  const { exec, pragma } = Database.prototype
  const { get } = statements
  const spies = [
    vi.spyOn(Database.prototype, 'exec').mockImplementation(function (this: Database.Database, text) {
      failWhenDue(this, text)
      return exec.call(this, text)
    }),
    vi.spyOn(Database.prototype, 'pragma').mockImplementation(function (this: Database.Database, text, options) {
      failWhenDue(this, text)
      return pragma.call(this, text, options)
    }),
    vi.spyOn(statements, 'get').mockImplementation(function (this: Database.Statement, ...values) {
      failWhenDue(this.database, this.source)
      return get.apply(this, values)
    }),
  ]
  place.atEnd(() => {
    for (const spy of spies) spy.mockRestore()
  })
  return failing
}

const BEGIN = 'BEGIN'
const READ = 'SELECT count(*) FROM sqlite_schema'
const CHECKPOINT = 'wal_checkpoint(PASSIVE)'

function openApp(place: Place): Database.Database {
  const app = new Database(place.file, { timeout: 0 })
  place.atEnd(() => app.close())
  app.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (v); CREATE TABLE u (v)')
  return app
}

/** Two commits, of which the first is lost when nobody stands on the log. */
function commitTwice(app: Database.Database): void {
  app.exec('INSERT INTO u VALUES (2)')
  app.pragma('wal_checkpoint(RESTART)')
  app.exec('INSERT INTO t VALUES (3)')
}

test('after a comparison, no commit is missed', async ({ place }) => {
  const app = openApp(place)
  const tracking = track(place, stateOf(place.file))
  tracking.tracker.drop('It was too much.')
  await tracking.lookAndCheck()
  for (let look = 0; look < 2; look++) {
    commitTwice(app)
    await tracking.tracker.look()
  }
  const steps = await tracking.lookAndCheck()
  expect(steps.map(({ how }) => how)).toEqual(['log', 'log'])
  expect(steps.flatMap(({ commits }) => commits)).toHaveLength(2 * 2)
})

test.for([
  ['a look takes its place', BEGIN, 1, {}],
  ['a look begins to read there', READ, 1, {}],
  ['a seal copies to the main file', CHECKPOINT, 1, { sealBytes: 1, behindBytes: 0 }],
  ['a seal takes its new place', BEGIN, 2, { sealBytes: 1, behindBytes: 0 }],
  ['a seal begins to read there', READ, 2, { sealBytes: 1, behindBytes: 0 }],
] as const)('when it fails while %s, no commit is missed', async ([, sql, nth, limits], { place }) => {
  const app = openApp(place)
  const tracking = track(place, stateOf(place.file), { limits: { ...limits, sealWaitMs: 0 } })
  await tracking.lookAndCheck()
  app.exec('INSERT INTO t VALUES (1)')
  const failing = failAt(place, app, sql, nth)
  await expect(tracking.tracker.look()).rejects.toMatchObject({ cause: { code: 'SQLITE_IOERR' } })
  expect(failing.left).toBe(0)
  for (let look = 0; look < 2; look++) {
    commitTwice(app)
    await tracking.tracker.look()
  }
  const steps = await tracking.lookAndCheck()
  expect(steps.map(({ how }) => how)).not.toContain('comparison')
  expect(steps.flatMap(({ commits }) => commits)).toHaveLength(1 + 2 * 2)
})

test('in rollback-journal mode, what is committed at the end of a comparison is found by the next one', async ({
  place,
}) => {
  const app = openApp(place)
  app.pragma('journal_mode = delete')
  const tracking = track(place, stateOf(place.file))
  const { endStep } = Captured.prototype
  const spy = vi.spyOn(Captured.prototype, 'endStep').mockImplementation(function (this: Captured, ...given) {
    spy.mockRestore()
    endStep.apply(this, given)
    app.exec('INSERT INTO t VALUES (1)')
  })
  await tracking.tracker.look()
  await tracking.tracker.look({ urgent: true })
  const steps = await tracking.store()
  expect(steps).toMatchObject([{ how: 'comparison', commits: [[3, 2]] }])
  expect(tracking.bytes.equals(stateOf(place.file).bytes)).toBe(true)
})
