import { renameSync, rmSync, statSync, truncateSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { test } from './support/place.ts'
import { checkpoint, commitsOf, exec, hows, startApp, write } from './support/tracked-app.ts'
import { stateOf, track } from './support/tracking.ts'

describe('followed', () => {
  test('every commit is captured in its own order, and nothing when nothing was committed', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    expect(hows(await tracking.lookAndCheck())).toEqual([])
    for (let round = 0; round < 5; round++) {
      await write(app, round)
      const steps = await tracking.lookAndCheck()
      expect(hows(steps)).toEqual(round === 0 ? [] : ['log'])
      expect(commitsOf(steps)).toBe(round)
    }
  })

  test.for(['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'])(
    'checkpoints %s by others lose nothing',
    async (mode, { place }) => {
      const app = await startApp(place)
      const tracking = track(place, stateOf(place.file))
      await tracking.tracker.look()
      for (let round = 0; round < 12; round++) {
        await write(app, round % 3)
        if (round % 4 === 1) await checkpoint(app, place, mode)
        await write(app, round % 2)
        if (round % 3 !== 0) await tracking.tracker.look()
        if (round % 5 === 2) await checkpoint(app, place, mode)
      }
      await tracking.lookAndCheck()
      expect(new Set(hows(tracking.steps))).toEqual(new Set(['log']))
      expect(commitsOf(tracking.steps)).toBe(4 * 3 + 6)
    },
  )

  test('a log that is begun anew between two looks is followed', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    for (let round = 0; round < 6; round++) {
      await write(app, 2)
      await tracking.tracker.look()
      expect(await checkpoint(app, place, 'PASSIVE')).toMatchObject({ busy: 0 })
      await tracking.tracker.look() // stands on a place where nothing of the log is needed any more
      await write(app, 1)
    }
    const salts = new Set((await tracking.lookAndCheck()).map(({ mark }) => mark?.salts))
    expect(salts.size).toBeGreaterThan(3)
    expect(new Set(hows(tracking.steps))).toEqual(new Set(['log']))
    expect(commitsOf(tracking.steps)).toBe(6 * 3)
  })

  test('VACUUM, and another database put over it by SQLite, are commits like others', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await exec(app, 'DELETE FROM t WHERE id % 3')
    await exec(app, 'VACUUM')
    expect(hows(await tracking.lookAndCheck())).toEqual(['log'])
    const other = new Database(place.path('other.db'))
    other.exec('PRAGMA page_size = 1024; CREATE TABLE u (v); INSERT INTO u VALUES (randomblob(70000))')
    await other.backup(place.file)
    other.close()
    await tracking.lookAndCheck()
  })

  test('the journal mode cannot be changed', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await tracking.tracker.look()
    await expect(exec(app, 'PRAGMA journal_mode = delete')).rejects.toThrow(/locked/)
    await write(app)
    expect(hows(await tracking.lookAndCheck())).toEqual(['log'])
  })

  test('a file that was replaced by a rename is compared', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await tracking.lookAndCheck()
    await app.run(({ Database, held }, copy) => {
      held.app?.exec(`VACUUM INTO '${copy}'`)
      held.app?.close()
      const other = new Database(copy)
      other.pragma('journal_mode = wal')
      other.exec('DELETE FROM t WHERE id < 20')
      other.close()
    }, place.path('copy.db'))
    renameSync(place.path('copy.db'), place.file)
    for (const end of ['-wal', '-shm']) rmSync(place.file + end, { force: true })
    await tracking.tracker.look()
    const steps = await tracking.store()
    expect(steps).toMatchObject([{ how: 'comparison', reason: 'The database file was replaced.' }])
    expect(tracking.bytes.equals(stateOf(place.file).bytes)).toBe(true)
    const after = new Database(place.file)
    after.exec("INSERT INTO t (v) VALUES ('after')")
    expect(hows(await tracking.lookAndCheck())).toEqual(['log'])
    after.close()
  })

  test('the last other connection closes, and a writer is killed inside a transaction', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await tracking.lookAndCheck()
    await write(app, 2)
    await app.run(({ held }) => held.app?.close())
    expect(hows(await tracking.lookAndCheck())).toEqual(['log'])
    await app.run(({ Database, held }, file) => {
      held.app = new Database(file)
      held.app.pragma('cache_size = 5')
      held.app.exec("INSERT INTO t (v) VALUES ('committed')")
      held.app.exec('BEGIN')
      for (let i = 0; i < 50; i++) held.app.exec('INSERT INTO t (v) VALUES (randomblob(1500))')
    }, place.file)
    await app.kill()
    const next = new Database(place.file)
    next.exec("INSERT INTO t (v) VALUES ('later')")
    const steps = await tracking.lookAndCheck()
    expect(hows(steps)).toEqual(['log'])
    expect(commitsOf(steps)).toBe(2)
    next.close()
  })

  test('a log that lost its end is no log to go on with', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await tracking.lookAndCheck()
    await write(app, 5)
    await tracking.lookAndCheck()
    const taken = tracking.tracker.captured
    const start = { table: taken.table, lastCommit: taken.lastCommit, capturedAt: Date.now(), notBefore: Date.now() }
    const mark = tracking.steps.at(-1)?.mark
    tracking.tracker.close()
    await app.kill()
    truncateSync(`${place.file}-wal`, Math.floor(statSync(`${place.file}-wal`).size * 0.9))
    rmSync(`${place.file}-shm`)
    const again = track(place, { bytes: tracking.bytes, start: { ...start, ...(mark && { mark }) } })
    expect(await again.lookAndCheck()).toMatchObject([{ how: 'comparison' }])
  })

  test('another page size ends it', async ({ place }) => {
    const app = await startApp(place)
    const state = stateOf(place.file)
    await exec(app, 'PRAGMA journal_mode = delete;PRAGMA page_size = 4096;VACUUM;PRAGMA journal_mode = wal')
    const { tracker } = track(place, state)
    await expect(tracker.look()).rejects.toMatchObject({ code: 'BASE_UNUSABLE' })
  })

  test('in rollback-journal mode it is compared when the file changed, and goes on with the log when it is in WAL mode', async ({
    place,
  }) => {
    const app = await startApp(place)
    await exec(app, 'PRAGMA journal_mode = delete')
    const tracking = track(place, stateOf(place.file))
    expect(hows(await tracking.lookAndCheck())).toEqual([])
    await write(app)
    await expect.poll(async () => hows(await tracking.lookAndCheck())).toEqual(['comparison'])
    expect(tracking.steps.at(-1)?.reason).toMatch('delete journal mode')
    await tracking.lookAndCheck()
    await exec(app, 'PRAGMA journal_mode = wal')
    await tracking.lookAndCheck()
    await write(app, 2)
    const steps = await tracking.lookAndCheck()
    expect(hows(steps)).toEqual(['log'])
    expect(commitsOf(steps)).toBe(2)
  })
})
