import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { createLedger } from './support/ledger.ts'
import { test } from './support/place.ts'
import { commitsOf, exec, hows, startApp, write } from './support/tracked-app.ts'
import { stateOf, track } from './support/tracking.ts'

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
        { interval: 20 },
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
