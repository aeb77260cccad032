import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createBackup, followLog, type Runtime, recoveryWindow, restoreBackup } from '@taskflow-backup/core'
import { describe, expect, vi } from 'vitest'
import { Spool } from '../src/child/spool.ts'
import { applyChanges, decodeChangesFile } from './support/changes.ts'
import { contentOf } from './support/images.ts'
import { type Place, test } from './support/place.ts'
import { commitsOf, exec, hows, startApp, write } from './support/tracked-app.ts'
import { stateOf, track } from './support/tracking.ts'

describe('what cannot be kept', () => {
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
    await write(app, 1)
    await tracking.lookAndCheck()
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

  test('another full that is made after something was dropped is found among what was captured since', async ({
    place,
  }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    const capture = async (rows: number): Promise<void> => {
      await write(app, rows)
      await tracking.tracker.look()
    }
    await capture(2)
    await tracking.store(async () => {
      await capture(2)
      await capture(2)
      tracking.tracker.drop('It was too much.')
      await capture(1)
    })
    await capture(2)
    const full = stateOf(place.file)
    await capture(3)
    tracking.tracker.continueFrom(full.start)
    const file = place.path('next.changes')
    const { log } = await tracking.tracker.captured.write(file, { algorithm: 'none', level: 0 })
    const decoded = await decodeChangesFile(file)
    expect(log).toMatchObject({ firstCommit: 1, lastCommit: 3 })
    expect(applyChanges(full.bytes, decoded).equals(stateOf(place.file).bytes)).toBe(true)
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

/** More than waits in memory. */
const LARGE = 'INSERT INTO t (v) VALUES (randomblob(10000000))'
const NO_ROOM = { code: 'TARGET_INVALID', retryable: true, message: expect.stringContaining('no space left') }

/** From now on a temporary file takes nothing any more, until there is room again. */
function fillDisk(place: Place): { makeRoom(): void } {
  const spy = vi.spyOn(Spool.prototype, 'append').mockImplementation(() => {
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' })
  })
  place.atEnd(() => spy.mockRestore())
  return { makeRoom: () => spy.mockRestore() }
}

describe('a disk that is full while it is captured', () => {
  test('what waits is dropped, that is told at each look, and it is compared once there is room', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await write(app, 2)
    await tracking.lookAndCheck()
    await write(app, 3)
    await tracking.tracker.look()
    const { makeRoom } = fillDisk(place)
    await exec(app, LARGE)
    await expect(tracking.tracker.look()).rejects.toMatchObject(NO_ROOM)
    expect(tracking.tracker.captured.isPending).toBe(false)
    await expect(tracking.tracker.look()).rejects.toMatchObject(NO_ROOM) // what is compared needs room as well
    makeRoom()
    const steps = await tracking.lookAndCheck()
    expect(steps).toMatchObject([{ how: 'comparison', reason: 'What was captured could not be kept.' }])
    await write(app)
    expect(hows(await tracking.lookAndCheck())).toEqual(['log'])
  })

  test('what is being written stays right', async ({ place }) => {
    const app = await startApp(place)
    const tracking = track(place, stateOf(place.file))
    await write(app, 3)
    await tracking.tracker.look()
    const written = await tracking.store(async () => {
      const { makeRoom } = fillDisk(place)
      await exec(app, LARGE)
      await expect(tracking.tracker.look()).rejects.toMatchObject(NO_ROOM)
      makeRoom()
    })
    expect(commitsOf(written)).toBe(3)
    expect(hows(await tracking.lookAndCheck())).toEqual(['comparison'])
  })

  test('a follower is begun anew until there is room, and nothing is lost', async ({ place, skip }) => {
    skip(process.platform === 'win32', 'there is no limit for the size of files')
    const app = await startApp(place)
    let isFull = true
    const start = (command: string, args: readonly string[], options: object) =>
      // Less than is kept in memory, in blocks of 512 or 1024 bytes.
      isFull
        ? spawn('/bin/sh', ['-c', 'ulimit -f 4096; exec "$0" "$@"', command, ...args], options)
        : spawn(command, args, options)
    await createBackup(place.plan())
    const plan = place.plan({ runtime: { spawn: start as Runtime['spawn'] } })
    const following = await followLog(plan, { everyMs: 20, merge: false })
    place.atEnd(() => following.stop().catch(() => {})) // rejects after a failure
    await write(app, 3)
    await following.flush()
    await exec(app, LARGE)
    await expect.poll(async () => (await following.health()).lastError?.code).toBe('TARGET_INVALID')
    // The next one cannot begin either.
    await expect.poll(async () => (await following.health()).state).toBe('restarting')
    isFull = false
    await write(app, 2)
    await expect.poll(() => following.flush().then(() => 'stored')).toBe('stored')
    expect((await following.health()).lastError).toBeUndefined()
    await following.stop()
    await restoreBackup(plan, { to: place.path('newest.db') })
    expect(contentOf(place.path('newest.db'))).toBe(contentOf(place.file))
    expect((await recoveryWindow(plan)).chains.map(({ stretches }) => stretches.length)).toEqual([1])
    expect(readdirSync(place.temporary)).toEqual([])
  })
})
