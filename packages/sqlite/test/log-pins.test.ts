import { readFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect, vi } from 'vitest'
import { CaptureClock } from '../src/child/clock.ts'
import { test } from './support/place.ts'
import { markTearer } from './support/torn-mark.ts'
import { stateOf, track } from './support/tracking.ts'

// The app gets its turn after everything that a look does to SQLite, and there does what loses data when nobody stands on
// the log for a moment: it commits, copies the log to the main file, and commits again, which begins the log anew.

/** Gives `turn` after each call of a connection that is not the app's own, with its SQL; until it is released. */
function between(app: Database.Database, turn: (sql: string) => void): () => void {
  const spies = (['exec', 'pragma'] as const).map((name) => {
    const original = Database.prototype[name] as (...args: unknown[]) => unknown
    function withTurn(this: Database.Database, ...args: unknown[]): never {
      const result = original.apply(this, args)
      if (this !== app) turn(String(args[0]))
      return result as never
    }
    return vi.spyOn(Database.prototype, name).mockImplementation(withTurn)
  })
  const statements = Object.getPrototypeOf(app.prepare('SELECT 1')) as Database.Statement
  const { get } = statements
  const reads = vi.spyOn(statements, 'get').mockImplementation(function (this: Database.Statement, ...values) {
    const result = get.apply(this, values)
    if (this.database !== app) turn(this.source)
    return result
  })
  return () => {
    for (const spy of [...spies, reads]) spy.mockRestore()
  }
}

describe.for(['PASSIVE', 'RESTART', 'TRUNCATE'])(
  'an app that checkpoints %s between any two steps of a look',
  (mode) => {
    test.for([
      ['at the log', 1024 * 1024, 1],
      ['that makes the log begin anew', 1, 3],
    ] as const)('%s', async ([, sealBytes, logs], { place }) => {
      const app = new Database(place.file, { timeout: 0 })
      app.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (id INTEGER PRIMARY KEY, v)')
      const insert = app.prepare('INSERT INTO t (v) VALUES (randomblob(900))')
      let turn = (): void => {}
      const wall = (): number => {
        turn() // each look asks for the time between what it does to SQLite and what it does to the log
        return Date.now()
      }
      const state = stateOf(place.file)
      const clock = new CaptureClock(state.start.notBefore, 0, { wall })
      const tracking = track(place, state, { clock, limits: { sealBytes, sealWaitMs: 0 } })
      await tracking.lookAndCheck()
      let committed = 0
      const tryTo = (work: () => unknown): void => {
        try {
          work()
        } catch (error) {
          if ((error as { code?: string }).code !== 'SQLITE_BUSY') throw error // a seal keeps writers waiting
        }
      }
      const write = (): void =>
        tryTo(() => {
          committed += insert.run().changes
        })
      turn = () => {
        write()
        tryTo(() => app.pragma(`wal_checkpoint(${mode})`))
        write()
      }
      const release = between(app, turn)
      try {
        for (let look = 0; look < 6; look++) await tracking.tracker.look()
      } finally {
        release()
        turn = () => {}
      }
      const steps = await tracking.lookAndCheck()
      expect(committed).toBeGreaterThanOrEqual(2 * 2 * 6) // each look begins a place and leaves one
      expect(steps.map(({ how }) => how)).not.toContain('comparison')
      expect(steps.reduce((sum, { commits }) => sum + commits.length, 0)).toBe(committed)
      expect(new Set(steps.flatMap(({ mark }) => mark?.salts ?? [])).size).toBeGreaterThanOrEqual(logs)
      app.close()
    })
  },
)

test('a commit mark that a writer is just writing is no empty log: no commit is missed', async ({ place }) => {
  const app = new Database(place.file, { timeout: 0 })
  app.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (id INTEGER PRIMARY KEY, v)')
  const tracking = track(place, stateOf(place.file))
  await tracking.lookAndCheck()
  app.exec('INSERT INTO t (v) VALUES (1)')
  // Who takes these for an empty log lets go of the commit twice; then it is overwritten.
  const tearing = markTearer(place, app)
  for (let look = 0; look < 2; look++) {
    tearing.times = 2 // for a glance at its length, and for the look
    await tracking.tracker.look()
    expect(tearing.times).toBe(0)
    app.pragma('wal_checkpoint(FULL)')
  }
  app.exec('INSERT INTO t (v) VALUES (2)')
  app.exec('INSERT INTO t (v) VALUES (3)')
  const steps = await tracking.lookAndCheck()
  expect(steps.map(({ how }) => how)).not.toContain('comparison')
  expect(steps.flatMap(({ commits }) => commits)).toHaveLength(3)
  app.close()
})

test('a log that is begun anew between a look at its mark and one at its header', async ({ place }) => {
  const app = new Database(place.file, { timeout: 0 })
  app.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (id INTEGER PRIMARY KEY, v)')
  const tracking = track(place, stateOf(place.file), { limits: { sealBytes: 1 } })
  await tracking.lookAndCheck() // it stands where nothing of the log is needed any more
  const salts = (): string => readFileSync(`${place.file}-wal`).toString('hex', 16, 24)
  const before = salts()
  let reads = 0
  const release = between(app, (sql) => {
    // The first time is a glance at its length.
    if (sql.includes('NOOP') && ++reads === 2) app.exec('INSERT INTO t (v) VALUES (1)')
  })
  await tracking.tracker.look()
  release()
  expect(salts()).not.toBe(before)
  const steps = await tracking.lookAndCheck()
  expect(steps.map(({ how }) => how)).not.toContain('comparison')
  expect(steps.flatMap(({ commits }) => commits)).toHaveLength(1)
  app.close()
})
