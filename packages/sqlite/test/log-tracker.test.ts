import { copyFileSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import type { Step } from '../src/changes/format.ts'
import { createLedger } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'
import type { Agent } from './support/processes.ts'
import { stateOf, track } from './support/tracking.ts'

/** An app in another process, with a connection that writes. */
async function startApp(place: Place, { pageSize = 1024, autocheckpoint = 0 } = {}): Promise<Agent> {
  const app = await place.agent()
  await app.run(
    ({ Database, held }, { file, pageSize, autocheckpoint }) => {
      held.app = new Database(file)
      held.app.pragma(`page_size = ${pageSize}`)
      held.app.pragma('journal_mode = wal')
      held.app.pragma(`wal_autocheckpoint = ${autocheckpoint}`)
      held.app.exec('CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v BLOB)')
      for (let i = 0; i < 50; i++) held.app.exec('INSERT INTO t (v) VALUES (randomblob(1500))')
    },
    { file: place.file, pageSize, autocheckpoint },
  )
  return app
}

const exec = (app: Agent, sql: string): Promise<void> =>
  app.run(({ held }, sql) => {
    for (const one of sql.split(';')) held.app?.exec(one)
  }, sql)

const write = (app: Agent, rows = 3): Promise<void> =>
  exec(app, 'INSERT INTO t (v) VALUES (randomblob(900));'.repeat(rows))

/** By a connection of another process. */
const checkpoint = (app: Agent, place: Place, mode: string): Promise<{ busy: number }> =>
  app.run(
    ({ Database, held }, { file, mode }) => {
      held.other ??= new Database(file, { timeout: 0 })
      return (held.other.pragma(`wal_checkpoint(${mode})`) as { busy: number }[])[0] as { busy: number }
    },
    { file: place.file, mode },
  )

const hows = (steps: readonly Step[]): string[] =>
  steps.flatMap(({ how, commits }) => (commits.length > 0 ? [how] : []))
const commitsOf = (steps: readonly Step[]): number => steps.reduce((sum, { commits }) => sum + commits.length, 0)

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

test('nothing of the database changes by looking', async ({ place }) => {
  const app = await startApp(place)
  const tracking = track(place, stateOf(place.file), { limits: { sealBytes: 1 } })
  await write(app, 3)
  const reader = await place.agent() // has no connection whose locks it could drop
  const contents = (): Promise<string[]> =>
    reader.run(
      ({ fs }, file) => [file, `${file}-wal`].map((path) => fs.readFileSync(path).toString('base64')),
      place.file,
    )
  const [mainBefore, logBefore] = await contents()
  expect(hows(await tracking.lookAndCheck())).toEqual(['log'])
  const [mainAfter, logAfter] = await contents()
  expect(logAfter).toBe(logBefore)
  expect(mainAfter).not.toBe(mainBefore) // the checkpoint of a seal, which any connection may do at any time
  await tracking.lookAndCheck()
  expect(await contents()).toEqual([mainAfter, logAfter])
  await exec(app, 'PRAGMA wal_checkpoint(PASSIVE)')
  expect(await contents()).toEqual([mainAfter, logAfter]) // it did what the app’s own would have done
})

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

describe('a seal', () => {
  test('lets the log begin anew under a writer that never rests, and shrinks nothing else', async ({ place }) => {
    createLedger(place.file, { pageSize: 1024 })
    const keeper = new Database(place.file) // nobody else empties the log
    keeper.pragma('wal_autocheckpoint = 0')
    const tracking = track(place, stateOf(place.file), { limits: { sealBytes: 200_000 } })
    await tracking.lookAndCheck()
    const writer = await place.writer({ files: [place.file], writer: 1 })
    const salts = new Set<string | undefined>()
    await expect
      .poll(
        async () => {
          await tracking.tracker.look()
          for (const { mark } of await tracking.store()) salts.add(mark?.salts)
          return salts.size
        },
        { timeout: 60_000, interval: 20 },
      )
      .toBeGreaterThan(4)
    const report = await writer.stop()
    await tracking.lookAndCheck()
    keeper.close()
    expect(report.unexpected).toEqual([])
    expect(new Set(hows(tracking.steps))).toEqual(new Set(['log']))
    expect(commitsOf(tracking.steps)).toBeGreaterThanOrEqual(report.last[place.file] as number)
  })

  test('does nothing while somebody else reads or writes for long', async ({ place }) => {
    const app = await startApp(place)
    await app.run(({ Database, held }, file) => {
      held.reader = new Database(file, { readonly: true })
      held.reader.exec('BEGIN')
      held.reader.prepare('SELECT count(*) FROM t').get()
    }, place.file)
    const tracking = track(place, stateOf(place.file), { limits: { sealBytes: 10_000, sealWaitMs: 5 } })
    for (let i = 0; i < 4; i++) {
      await write(app, 10)
      await tracking.lookAndCheck()
    }
    await exec(app, 'BEGIN IMMEDIATE;INSERT INTO t (v) VALUES (randomblob(90000))')
    await tracking.lookAndCheck()
    await exec(app, 'COMMIT')
    await tracking.lookAndCheck()
    expect(new Set(hows(tracking.steps))).toEqual(new Set(['log']))
    expect(new Set(tracking.steps.flatMap(({ mark }) => mark?.salts ?? [])).size).toBe(1)
  })
})
