import { closeSync, openSync, readSync, statSync, writeFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect } from 'vitest'
import { locksOf } from './support/kernel-locks.ts'
import { type Place, test } from './support/place.ts'
import { createHistory } from './support/time-travel/history.ts'
import { FollowingApp, OtherWriter } from './support/time-travel/processes.ts'

// What the app notices of being followed: nothing.

/** What docs/sqlite.md says of the length of the log. */
const MOST_LOG_BYTES = 192 * 2 ** 20

const CHECKPOINTS = ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const

async function followed(place: Place, writes: boolean): Promise<FollowingApp> {
  createHistory(place.file, 4096)
  const { file, backups, temporary } = place
  writeFileSync(place.path('clock'), '0')
  return FollowingApp.start(
    { file, backups, temporary, seed: 1, everyMs: 200, restMs: 0, writes },
    place.path('clock'),
    place,
  )
}

/** What a write-ahead log that begins anew has another one of. The file carries no locks: it may be opened. */
function saltsOf(file: string): string {
  const header = Buffer.alloc(32)
  const fd = openSync(`${file}-wal`, 'r')
  readSync(fd, header, 0, header.length, 0)
  closeSync(fd)
  return header.toString('hex', 16, 24)
}

describe.skipIf(process.platform !== 'linux')('an app whose log is followed', () => {
  test('keeps its locks, whether the follower looks, is killed or starts anew', async ({ place }) => {
    const app = await followed(place, false)
    // It has to keep up with the app.
    expect(getPriority(await app.followerPid())).toBe(getPriority(app.pid))
    const other = await place.agent()
    const tries = () =>
      other.run(({ Database }, file) => {
        const database = new Database(file, { timeout: 0 })
        const tried = (sql: string): string => {
          try {
            const statement = database.prepare(sql)
            return JSON.stringify(statement.reader ? statement.all() : statement.run())
          } catch (error) {
            return (error as { code: string }).code
          }
        }
        const write = tried('INSERT INTO writer VALUES (99, 99)')
        const checkpoint = tried('PRAGMA wal_checkpoint(RESTART)')
        database.close()
        return { write, busy: checkpoint === 'SQLITE_BUSY' || /"busy":1/.test(checkpoint) }
      }, place.file)

    await app.ask('holdLocks')
    const before = locksOf(app, place.file)
    expect(before.length).toBeGreaterThan(0)
    for (const round of ['looks', 'is killed', 'looks again']) {
      if (round === 'is killed') process.kill(await app.followerPid(), 'SIGKILL')
      await app.ask('flush').catch(() => {}) // a flush may hit the moment of the kill
      await app.ask('backup', 'differential')
      expect({ round, ...(await tries()) }).toEqual({ round, write: 'SQLITE_BUSY', busy: true })
      expect({ round, locks: locksOf(app, place.file) }).toEqual({ round, locks: before })
    }
    await app.ask('releaseLocks')
    expect(await tries()).toMatchObject({ write: expect.not.stringContaining('BUSY') })
    await app.stop()
  })

  test('writes on at full speed beside others: the log begins anew, checkpoints get through', async ({ place }) => {
    const app = await followed(place, true)
    const writers = await Promise.all(
      [1, 2].map((writer) => OtherWriter.start({ file: place.file, writer, seed: writer, restMs: 0 }, place)),
    )
    let mostLogBytes = 0
    const watch = setInterval(() => {
      mostLogBytes = Math.max(mostLogBytes, statSync(`${place.file}-wal`, { throwIfNoEntry: false })?.size ?? 0)
    }, 20)
    place.atEnd(() => clearInterval(watch))
    // The follower sees to it that the log begins anew; without it writers at full speed never leave it a moment.
    for (let round = 0; round < 2; round++) {
      const salts = saltsOf(place.file)
      await expect.poll(() => saltsOf(place.file), { interval: 20 }).not.toBe(salts)
    }
    const attempts: Record<string, number> = {}
    for (const mode of CHECKPOINTS) {
      await sleep(200)
      do attempts[mode] = (attempts[mode] ?? 0) + 1
      while ((await app.ask('checkpoint', mode)).busy !== 0 && attempts[mode] < 10)
    }
    const reports = await Promise.all(writers.map((writer) => writer.stop()))
    const report = await app.stop()
    clearInterval(watch)
    console.log(
      `largest log ${(mostLogBytes / 2 ** 20).toFixed(1)} MiB; transactions and how many found it busy ${[report, ...reports].map(({ committed, busy }) => `${committed}/${busy}`)}; attempts ${JSON.stringify(attempts)}`,
    )
    expect(mostLogBytes).toBeLessThan(MOST_LOG_BYTES)
    // Three writers at full speed are unfair to one another, also when nobody follows: what they waited is only told.
    for (const { committed } of [report, ...reports]) expect(committed).toBeGreaterThan(0)
    for (const mode of CHECKPOINTS) expect(attempts[mode]).toBeLessThan(10)
    expect(report.warnings).toEqual([])
    expect(report.logged).toBeGreaterThan(0)
  })
})
