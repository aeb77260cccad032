import { describe, expect, test } from 'vitest'
import {
  type BackupAdapter,
  BackupError,
  type BackupPlanOptions,
  createBackup,
  type LogFollowing,
} from '../src/index.ts'
import { acquireLock } from '../src/lock.ts'
import type { FollowParts } from '../src/verbs/follow-log.ts'
import { assertRestores, following, loggedIn, manifestOf, newest, RARELY, warningsIn } from './support/following.ts'
import { scenario } from './support/scenario.ts'

describe('each committed log', () => {
  test('takes ten calls of a storage, with one listing of locks and one of new chains', async () => {
    const all = scenario(3)
    const { first } = all
    const one = { plan: all.planWith({ destinations: [first] }) }
    await following(
      one,
      async (followed) => {
        // The first one lists everything.
        all.source.append('first')
        await followed.flush()
        for (let round = 0; round < 3; round++) {
          all.source.append('one more')
          first.restart()
          await followed.flush()
          const calls = first.calls.map(({ operation, key }) => `${operation} ${key.replace(/.*\//, '')}`)
          expect(calls).toEqual([
            expect.stringMatching(/^put lock-/),
            'list lock-',
            'stat manifest.json',
            'list ',
            expect.stringMatching(/^put books_backup_.*\.zst$/),
            expect.stringMatching(/^stat books_backup_/),
            expect.stringMatching(/^stat lock-/),
            'put manifest.json',
            'stat manifest.json',
            expect.stringMatching(/^delete lock-/),
          ])
        }
      },
      RARELY,
    )
  })

  test('asks the adapter for no description', async () => {
    const all = scenario(3)
    let asked = 0
    const adapter: BackupAdapter = {
      ...all.source.adapter,
      describe: (ctx) => {
        asked += 1
        return all.source.adapter.describe(ctx)
      },
    }
    await createBackup(all.plan)
    await following({ plan: all.planWith({ adapter }) }, async (followed) => {
      for (let round = 0; round < 3; round++) {
        all.source.append('one more')
        await followed.flush()
      }
    })
    expect(asked).toBe(0)
  })

  test('is told to the listener and not to notifiers', async () => {
    const heard: string[] = []
    const all = scenario(3)
    const plan = all.planWith({ notifiers: [async ({ type, verb }) => void heard.push(`${verb} ${type}`)] })
    const events = await following({ plan }, async (followed) => {
      all.source.append('later')
      await followed.flush()
    })
    expect(loggedIn(events)).toMatchObject([
      { backupId: (await newest(all))?.id, storedBytes: expect.any(Number), lagMs: expect.any(Number) },
    ])
    expect(heard).toEqual([
      'createBackup started',
      'createBackup completed',
      'followLog started',
      'followLog completed',
    ])
  })

  test('is made without being asked for, and an empty one when nothing happens', async () => {
    const all = scenario(3)
    const events = await following(
      all,
      async (followed, told) => {
        all.source.append('later')
        await expect.poll(() => loggedIn(told).length).toBe(1)
        const { id } = (await newest(all)) as { id: string }
        expect((await manifestOf(all, id)).position).toEqual({ begin: '1.3', end: '1.4' })
        await expect.poll(() => loggedIn(told).length).toBeGreaterThan(1)
        expect(await followed.health()).toMatchObject({ state: 'following', pendingBytes: 0, restarts: 0, gaps: [] })
      },
      { idleEveryMs: 100 },
    )
    const { id } = (await newest(all)) as { id: string }
    expect((await manifestOf(all, id)).position).toEqual({ begin: '1.4', end: '1.4' })
    expect(warningsIn(events)).toEqual([])
    await assertRestores(all, 'copy')
  })
})

describe('merges', () => {
  test('run once for so many logs, beside them; their failures are told', async () => {
    const all = scenario(3)
    let merges = 0
    const mergeLogs = async (): Promise<void> => {
      merges += 1
      if (merges === 1) throw new BackupError('PLAN_LOCKED', 'Not now.')
      if (merges === 2) throw new BackupError('STORAGE_FULL', 'No room.')
    }
    const log = async (followed: LogFollowing): Promise<void> => {
      all.source.append('one more')
      await followed.flush()
    }
    const events = await following(
      all,
      async (followed) => {
        for (let round = 1; round <= 9; round++) {
          await log(followed)
          expect(merges).toBe(Math.floor(round / 3))
        }
      },
      { ...RARELY, parts: { mergeLogs } },
    )
    expect(warningsIn(events)).toEqual(['Logs could not be merged: No room.'])
    await following(all, log, { ...RARELY, merge: false, parts: { mergeLogs, mergeEvery: 1 } })
    expect(merges).toBe(3)
  })

  test('compress as the plan says; the logs that wait for them are compressed quickly', async () => {
    const all = scenario(3)
    const mergeLogs: FollowParts['mergeLogs'] = async () => {}
    const levelAfter = async (
      compression: BackupPlanOptions['compression'],
      options: { merge?: false; parts?: Partial<FollowParts> },
    ): Promise<unknown> => {
      const plan = all.planWith({ ...(compression && { compression }) })
      let codecs: unknown
      await following(
        { plan },
        async (followed) => {
          all.source.append('one more')
          await followed.flush()
          const { id } = (await newest({ plan })) as { id: string }
          codecs = (await manifestOf(all, id)).members.map((member) => member.codecs)
        },
        { ...RARELY, ...options },
      )
      return codecs
    }
    await createBackup(all.plan)
    const parts = { mergeLogs }
    const best = { algorithm: 'zstd', level: 9 } as const
    expect(await levelAfter(best, { parts })).toEqual([[{ name: 'zstd', level: 3 }]])
    expect(await levelAfter(best, { parts, merge: false })).toEqual([[{ name: 'zstd', level: 9 }]])
    expect(await levelAfter(best, {})).toEqual([[{ name: 'zstd', level: 9 }]])
    expect(await levelAfter({ algorithm: 'zstd', level: 2 }, { parts })).toEqual([[{ name: 'zstd', level: 2 }]])
    expect(await levelAfter({ algorithm: 'gzip', level: 9 }, { parts })).toEqual([[{ name: 'gzip', level: 1 }]])
    expect(await levelAfter('none', { parts })).toEqual([[]])
  })

  test('that hold the lock do not keep the last log from being stored', async () => {
    const all = scenario(3)
    const { plan, source } = all
    let held = false
    const mergeLogs: FollowParts['mergeLogs'] = async (_plan, { signal }) => {
      const request = { mode: 'write', verb: 'mergeLogs', waitMs: 1000, signal: new AbortController().signal } as const
      const lock = await acquireLock(all.first, 'books', request, plan.runtime)
      held = true
      await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()))
      await lock.release()
    }
    await createBackup(plan)
    await following(
      all,
      async (followed) => {
        source.append('one more')
        await followed.flush()
        await expect.poll(() => held).toBe(true)
        source.append('the last one')
        await followed.stop()
      },
      { ...RARELY, parts: { mergeLogs, mergeEvery: 1 } },
    )
    await assertRestores(all, 'copy')
  })

  test('that are under way end with the following, and one at a time', async () => {
    const all = scenario(3)
    let running = 0
    const mergeLogs: FollowParts['mergeLogs'] = async (_plan, { signal, most }) => {
      expect(++running).toBe(1)
      expect(most).toBe(7)
      await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()))
      running--
    }
    const work = async (followed: LogFollowing): Promise<void> => {
      for (let round = 0; round < 3; round++) {
        all.source.append('one more')
        await followed.flush()
      }
      expect(running).toBe(1)
    }
    await following(all, work, { ...RARELY, merge: { most: 7 }, parts: { mergeLogs, mergeEvery: 1 } })
    expect(running).toBe(0)
  })
})
