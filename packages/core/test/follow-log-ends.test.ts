import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { type BackupAdapter, BackupError, createBackup, type LogSource, listBackups } from '../src/index.ts'
import { assertRestores, following, locksIn, loggedIn, RARELY, withSource } from './support/following.ts'
import { scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

const never = <T>(): Promise<T> => new Promise(() => {})

/** The same adapter; `follow` is another one. */
const withFollow = (
  adapter: BackupAdapter,
  follow: (...args: Parameters<NonNullable<BackupAdapter['follow']>>) => Promise<LogSource>,
): BackupAdapter => ({ ...adapter, follow })

describe('a source that does not answer', () => {
  test('and ends is begun anew', async () => {
    const all = scenario(3)
    let opened = 0
    const adapter = withSource(all.source.adapter, (source) => {
      opened += 1
      return opened === 1 ? { pending: never, close: async () => {} } : source
    })
    await following({ plan: all.planWith({ adapter }) }, async (followed) => {
      all.source.append('one')
      all.source.killFollowers()
      await followed.flush()
      expect(await followed.health()).toMatchObject({ state: 'following', restarts: 1 })
    })
    await assertRestores(all, 'copy')
  })

  test('and ends without a reason breaks its contract', async () => {
    const all = scenario(3)
    let end = (): void => {}
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    const adapter = withSource(all.source.adapter, () => ({ pending: never, ended }))
    await following({ plan: all.planWith({ adapter }) }, async (followed) => {
      const flush = codeOf(followed.flush())
      end()
      expect(await flush).toBe('CONTRACT_BROKEN')
      expect(await codeOf(followed.done)).toBe('CONTRACT_BROKEN')
      await followed.stop()
    })
    expect(await locksIn(all.first)).toEqual([])
  })

  test('and ended while a manifest was stored is not asked any more', async () => {
    const all = scenario(3)
    let asked = 0
    const adapter = withSource(all.source.adapter, (source) => ({
      committed: (manifest) => (asked++ === 0 && all.source.followers() === 0 ? never() : source.committed(manifest)),
    }))
    await following(
      { plan: all.planWith({ adapter }) },
      async (followed, events) => {
        let stats = 0
        all.second.restart([
          {
            kind: 'hang',
            when: ({ operation, key }) => operation === 'stat' && key.endsWith('-log/manifest.json') && ++stats === 1,
          },
        ])
        all.source.append('one')
        const flush = followed.flush()
        await expect.poll(() => all.second.struck.length).toBe(1)
        all.source.killFollowers()
        all.second.release()
        await flush
        expect(loggedIn(events).length).toBeGreaterThan(0)
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('ends with an abort', async () => {
    const all = scenario(3)
    const aborter = new AbortController()
    const adapter = withSource(all.source.adapter, () => ({ pending: never }))
    await following(
      { plan: all.planWith({ adapter }) },
      async (followed) => {
        const flush = codeOf(followed.flush())
        aborter.abort()
        expect([await codeOf(followed.done), await flush]).toEqual(['ABORTED', 'ABORTED'])
      },
      { signal: aborter.signal },
    )
    expect(all.source.followers()).toBe(0)
    expect(await locksIn(all.first)).toEqual([])
  })
})

describe('a source that fails', () => {
  test('in a call is another one from then on', async () => {
    const all = scenario(3)
    let failures = 1
    const adapter = withSource(all.source.adapter, (source) => ({
      async pending(waitMs) {
        if (failures-- > 0) throw new BackupError('SOURCE_UNREADABLE', 'A broken disk.')
        return source.pending(waitMs)
      },
    }))
    await following({ plan: all.planWith({ adapter }) }, async (followed) => {
      all.source.append('one')
      await followed.flush()
      expect((await followed.health()).restarts).toBe(1)
    })
    await assertRestores(all, 'copy')
  })

  test('to take in what was committed loses nothing, and the log is told', async () => {
    const all = scenario(3)
    let failures = 1
    const adapter = withSource(all.source.adapter, (source) => ({
      async committed(manifest) {
        if (failures-- > 0) throw new BackupError('SOURCE_UNREADABLE', 'A broken disk.')
        await source.committed(manifest)
      },
    }))
    const events = await following(
      { plan: all.planWith({ adapter }) },
      async (followed) => {
        all.source.append('one')
        await followed.flush()
      },
      RARELY,
    )
    const logs = (await listBackups(all.plan)).backups.filter(({ kind }) => kind === 'log')
    expect(loggedIn(events).map(({ backupId }) => backupId)).toEqual(logs.map(({ id }) => id))
    await assertRestores(all, 'copy')
  })

  test('again and again: a flush says why, its state is told, an abort ends the pause, and no listener stays', async () => {
    const all = scenario(3)
    const aborter = new AbortController()
    const { signal } = aborter
    const { adapter } = all.source
    let opened = 0
    const refusing = withFollow(adapter, async (...args) => {
      if (++opened > 1) throw new BackupError('SOURCE_BUSY', 'Not now.')
      return (await adapter.follow?.(...args)) as LogSource
    })
    await following(
      { plan: all.planWith({ adapter: refusing }) },
      async (followed) => {
        const listeners = getEventListeners(signal, 'abort').length
        all.source.killFollowers()
        await expect.poll(async () => (await followed.health()).state).toBe('restarting')
        for (let round = 0; round < 3; round++) expect(await codeOf(followed.flush())).toBe('SOURCE_BUSY')
        expect(getEventListeners(signal, 'abort').length).toBeLessThan(listeners)
        aborter.abort()
        expect(await codeOf(followed.done)).toBe('ABORTED')
      },
      { ...RARELY, signal, parts: { firstRetryMs: 3_600_000, mostRetryMs: 3_600_000 } },
    )
    expect(await locksIn(all.first)).toEqual([])
  })

  test('while a destination hangs is begun anew at once', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.second.restart([{ kind: 'hang', when: ({ operation, key }) => operation === 'put' && /zst/.test(key) }])
        all.source.append('one')
        const flush = followed.flush()
        await expect.poll(() => all.second.struck.length).toBe(1)
        all.second.restart()
        all.source.killFollowers()
        await flush
        expect(await followed.health()).toMatchObject({ state: 'following', restarts: 1 })
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('to continue what was just made for it ends the following: fulls would follow on fulls', async () => {
    const all = scenario(3)
    let asked = 0
    const adapter = withFollow(all.source.adapter, async () => {
      throw ++asked < 5 ? new BackupError('BASE_UNUSABLE', 'Never.') : new BackupError('KIND_UNSUPPORTED', 'Enough.')
    })
    expect(await codeOf(following({ plan: all.planWith({ adapter }) }, async () => {}))).toBe('BASE_UNUSABLE')
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full'])
  })
})

describe('the end', () => {
  test('by an abort before anything is captured', async () => {
    const all = scenario(3)
    await createBackup(all.plan)
    const aborter = new AbortController()
    const adapter = withFollow(all.source.adapter, async (_base, _settings, { signal }) => {
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve))
      throw new BackupError('ABORTED', 'As asked.')
    })
    all.second.restart([{ kind: 'hang', when: ({ operation }) => operation === 'list' }])
    const begun = codeOf(following({ plan: all.planWith({ adapter }) }, async () => {}, { signal: aborter.signal }))
    await expect.poll(() => all.second.struck.length).toBe(1)
    aborter.abort()
    all.second.release()
    expect(await begun).toBe('ABORTED')
    expect(await locksIn(all.first)).toEqual([])
  })

  test('by an abort while it is being stopped: nothing is left unsettled', async () => {
    const all = scenario(3)
    const aborter = new AbortController()
    await following(
      all,
      async (followed) => {
        all.second.restart([{ kind: 'hang', when: ({ operation, key }) => operation === 'put' && /zst/.test(key) }])
        all.source.append('last')
        const flush = codeOf(followed.flush())
        await expect.poll(() => all.second.struck.length).toBe(1)
        const stop = followed.stop()
        aborter.abort()
        await stop
        expect([await flush, await codeOf(followed.flush())]).toEqual(['ABORTED', 'ABORTED'])
        expect((await followed.health()).state).toBe('stopped')
      },
      { ...RARELY, signal: aborter.signal },
    )
    expect(await locksIn(all.first)).toEqual([])
  })

  test('a flush does not wait for the pause after a log', async () => {
    const all = scenario(3)
    const adapter = withSource(all.source.adapter, ({ pending }) => ({ pending: () => pending(0) }))
    await following(
      { plan: all.planWith({ adapter }) },
      async (followed, events) => {
        all.source.append('one')
        await expect.poll(() => loggedIn(events).length).toBe(1)
        all.source.append('two')
        await followed.flush()
        expect(loggedIn(events)).toHaveLength(2)
      },
      RARELY,
    )
  })
})
