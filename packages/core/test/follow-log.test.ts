import { describe, expect, test } from 'vitest'
import { collect, type FaultyStorage, readAll } from '../../testing/src/index.ts'
import {
  type BackupAdapter,
  BackupError,
  type BackupEvent,
  createBackup,
  type FollowLogOptions,
  followLog,
  type LogFollowing,
  type LogSource,
  listBackups,
  type Manifest,
  pruneBackups,
  readOnly,
  restoreBackup,
} from '../src/index.ts'
import { acquireLock } from '../src/lock.ts'
import { type FollowParts, followWith } from '../src/verbs/follow-log.ts'
import { type Scenario, scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

const PARTS: FollowParts = {
  relistMs: 3_600_000,
  firstRetryMs: 5,
  mostRetryMs: 20,
  mostWaitMs: 20,
  mergeEvery: 3,
  nowMs: () => performance.now(),
}

/** Follows the log of a scenario's plan, and always stops. */
async function following(
  { plan }: Pick<Scenario, 'plan'>,
  work: (following: LogFollowing, events: BackupEvent[]) => Promise<void>,
  { parts, ...options }: FollowLogOptions & { parts?: Partial<FollowParts> } = {},
): Promise<BackupEvent[]> {
  const events: BackupEvent[] = []
  const onEvent = (event: BackupEvent): void => void events.push(event)
  const followed = await followWith(plan, { everyMs: 10, onEvent, ...options }, { ...PARTS, ...parts })
  try {
    await work(followed, events)
  } finally {
    await followed.stop().catch(() => {})
  }
  return events
}

/** Without the pace of the follower: only `flush` commits. */
const RARELY = { everyMs: 3_600_000, idleEveryMs: 3_600_000 }

const loggedIn = (events: readonly BackupEvent[]) => events.filter((event) => event.type === 'logged')
const warningsIn = (events: readonly BackupEvent[]) => events.flatMap((e) => (e.type === 'warning' ? [e.message] : []))
const newest = async ({ plan }: Pick<Scenario, 'plan'>) => (await listBackups(plan)).backups.at(-1)
const locksIn = async (storage: FaultyStorage) => (await collect(storage.list('books/lock-'))).map(({ key }) => key)

async function manifestOf({ first }: Scenario, id: string): Promise<Manifest> {
  return JSON.parse(String(await readAll(await first.get(`books/${id}/manifest.json`)))) as Manifest
}

async function assertRestores({ plan, source }: Scenario, to: string): Promise<void> {
  await restoreBackup(plan, { to, overwrite: true })
  expect(source.entries(to)).toEqual(source.entries())
}

/** The adapter of a scenario with another source. */
function withSource(adapter: BackupAdapter, change: (source: LogSource) => Partial<LogSource>): BackupAdapter {
  return {
    ...adapter,
    async follow(base, settings, ctx) {
      const source = (await adapter.follow?.(base, settings, ctx)) as LogSource
      return { ...source, ...change(source) }
    },
  }
}

describe('the begin', () => {
  test('makes a full where there is none, and says why', async () => {
    const all = scenario(3)
    const events = await following(all, async (followed) => {
      all.source.append('four')
      await followed.flush()
    })
    const { backups } = await listBackups(all.plan)
    expect(backups.map(({ kind }) => kind)).toEqual(['full', 'log'])
    expect((await manifestOf(all, backups[0]?.id as string)).requested).toMatchObject({ kind: 'log' })
    expect(events.flatMap(({ type, verb }) => (type === 'progress' ? [] : [`${verb} ${type}`]))).toEqual([
      'createBackup started',
      'createBackup completed',
      'followLog started',
      'followLog logged',
      'followLog completed',
    ])
    await assertRestores(all, 'copy')
  })

  test('continues the newest chain, with all that was committed since', async () => {
    const all = scenario(3)
    await createBackup(all.plan)
    await createBackup(all.plan, { kind: 'log' })
    all.source.append('while nobody followed')
    await following(all, (followed) => followed.flush(), RARELY)
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'log'])
    await assertRestores(all, 'copy')
  })

  test('makes a full where the chain cannot be continued, and none with strictKinds', async () => {
    const all = scenario(3)
    await createBackup(all.plan)
    all.source.truncateLog()
    expect(await codeOf(followLog(all.planWith({ strictKinds: true })))).toBe('BASE_UNUSABLE')
    expect(await locksIn(all.first)).toEqual([])
    await following(all, (followed) => followed.flush(), RARELY)
    const { backups } = await listBackups(all.plan)
    expect(backups.map(({ kind }) => kind)).toEqual(['full', 'full'])
    expect((await manifestOf(all, backups[1]?.id as string)).requested?.reason).toMatch(/log since/)
  })

  test.each<[string, (all: Scenario) => Promise<unknown>, string]>([
    ['everyMs is no time', ({ plan }) => followLog(plan, { everyMs: 0 }), 'OPTIONS_INVALID'],
    ['idleEveryMs is shorter', ({ plan }) => followLog(plan, { idleEveryMs: 999 }), 'OPTIONS_INVALID'],
    [
      'the adapter follows no log',
      ({ planWith, source: { adapter } }) => {
        const { follow: _, ...rest } = adapter
        return followLog(planWith({ adapter: rest }))
      },
      'KIND_UNSUPPORTED',
    ],
    [
      'a required destination can only be read',
      ({ planWith, first }) => followLog(planWith({ destinations: [readOnly(first)] })),
      'STORAGE_READ_ONLY',
    ],
    ['there is no full, and strictKinds', ({ planWith }) => followLog(planWith({ strictKinds: true })), 'BASE_MISSING'],
    [
      'the destination fails',
      ({ plan, first }) => {
        first.restart([{ kind: 'error', when: ({ operation }) => operation === 'list' }])
        return followLog(plan)
      },
      'STORAGE_FAILED',
    ],
    ['it is aborted already', ({ plan }) => followLog(plan, { signal: AbortSignal.abort() }), 'ABORTED'],
  ])('is refused when %s, and leaves nothing', async (_name, begin, code) => {
    const all = scenario(3)
    expect(await codeOf(begin(all))).toBe(code)
    all.first.restart()
    expect(await locksIn(all.first)).toEqual([])
    expect(all.source.followers()).toBe(0)
  })
})

describe('the lock', () => {
  test('lets everybody do what they do, but write the log', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        await expect(createBackup(all.plan, { kind: 'log' })).rejects.toThrow(
          new RegExp(`^The log of plan "books" is being followed by process ${process.pid} on `),
        )
        expect(await codeOf(followLog(all.plan))).toBe('PLAN_LOCKED')
        await createBackup(all.plan, { kind: 'differential' })
        await pruneBackups(all.plan)
        all.source.append('later')
        await followed.flush()
      },
      RARELY,
    )
    await createBackup(all.plan, { kind: 'log' })
    expect(await locksIn(all.first)).toEqual([])
  })

  const LOCK = { staleAfterMs: 30_000, beatMs: 5, pollMs: 5, nowMs: () => performance.now() }
  const PATIENT = { timeout: 10_000 }

  test('that was lost is taken again, without losing the source', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        const [lost] = await locksIn(all.first)
        await all.first.delete(lost as string)
        const again = async (): Promise<string[]> => {
          all.source.append('later')
          await followed.flush()
          return locksIn(all.first)
        }
        await expect.poll(again, PATIENT).toEqual([expect.not.stringMatching(lost as string)])
        expect((await followed.health()).restarts).toBe(0)
      },
      { ...RARELY, parts: { lock: LOCK } },
    )
    expect(await locksIn(all.first)).toEqual([])
    await assertRestores(all, 'copy')
  })

  test('that was lost to somebody else ends it', async () => {
    const all = scenario(3)
    const { plan, first } = all
    await following(
      all,
      async (followed) => {
        for (const key of await locksIn(first)) await first.delete(key)
        const { signal } = new AbortController()
        const request = { mode: 'follow', verb: 'followLog', waitMs: 0, signal } as const
        const other = await acquireLock(first, 'books', request, plan.runtime)
        await expect.poll(() => codeOf(followed.flush()), PATIENT).toBe('PLAN_LOCKED')
        expect(await codeOf(followed.done)).toBe('PLAN_LOCKED')
        expect(await locksIn(first)).toEqual([other.key])
        await other.release()
      },
      { ...RARELY, parts: { lock: LOCK } },
    )
    expect(all.source.followers()).toBe(0)
  })
})

describe('each committed log', () => {
  test('takes few calls of a storage, and one listing of locks and one of new chains', async () => {
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

describe('a full of somebody else', () => {
  test.each([
    ['is seen at once', 3_600_000, 0],
    ['is seen at once, though its clock is wrong', 3_600_000, 3_000_000],
  ])('%s, and the logs go on from there', async (_name, relistMs, behindMs) => {
    const all = scenario(3)
    await createBackup(all.plan)
    all.advance(7_200_000)
    await following(
      all,
      async (followed) => {
        all.source.append('old chain, committed')
        await followed.flush()
        all.source.append('old chain, pending')
        all.advance(-behindMs)
        const { id } = await createBackup(all.plan)
        all.advance(behindMs)
        all.source.append('new chain')
        await followed.flush()
        const { backups } = await listBackups(all.plan)
        const positions = []
        for (const { id, chain, kind } of backups)
          if (kind === 'log') positions.push({ chain, ...(await manifestOf(all, id)).position })
        const [old, now] = [backups.find(({ kind }) => kind === 'full')?.chain, id.split('/')[0]]
        expect(positions).toEqual([
          { chain: old, begin: '1.3', end: '1.4' },
          { chain: old, begin: '1.4', end: '1.5' },
          { chain: now, begin: '1.5', end: '1.6' },
        ])
        await restoreBackup(all.plan, { id: backups.findLast(({ chain }) => chain === old)?.id as string, to: 'old' })
        expect(all.source.entries('old')?.at(-1)?.text).toBe('old chain, pending')
      },
      { ...RARELY, parts: { relistMs } },
    )
    await assertRestores(all, 'copy')
  })

  test('whose old chain is pruned at once, too', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        const old = (await newest(all))?.chain as string
        all.source.append('pending')
        await createBackup(all.plan)
        for (const storage of [all.first, all.second])
          for (const { key } of await collect(storage.list(`books/${old}/`))) await storage.delete(key)
        all.source.append('new')
        await followed.flush()
        expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log'])
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('while it is being made, lets the log wait', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed, events) => {
        all.second.restart([
          { kind: 'hang', when: ({ operation, key }) => operation === 'put' && key.includes('-full/') },
        ])
        const full = createBackup(all.plan)
        await expect.poll(() => all.second.struck.length).toBe(1)
        all.source.append('meanwhile')
        expect(await codeOf(followed.flush())).toBe('PLAN_LOCKED')
        expect((await followed.health()).lastError?.code).toBe('PLAN_LOCKED')
        all.second.restart()
        all.second.release()
        const { id } = await full
        await followed.flush()
        expect((await newest(all))?.chain).toBe(id.split('/')[0])
        expect(warningsIn(events)).toEqual([])
        expect((await followed.health()).lastError).toBeUndefined()
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })
})

describe('a restore over the live database', () => {
  test('begins a new chain', async () => {
    const all = scenario(3)
    const { id } = await createBackup(all.plan)
    all.source.append('undone')
    await following(
      all,
      async (followed) => {
        await followed.flush()
        await restoreBackup(all.plan, { id })
        all.source.append('another history')
        await followed.flush()
        all.source.append('and on')
        await followed.flush()
      },
      RARELY,
    )
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'full', 'log'])
    await assertRestores(all, 'copy')
  })
})

describe('logs that somebody else changed', () => {
  test('by removing the newest: the source is begun anew where they end now', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.source.append('one')
        await followed.flush()
        const { id } = (await newest(all)) as { id: string }
        for (const storage of [all.first, all.second])
          for (const { key } of await collect(storage.list(`books/${id}/`))) await storage.delete(key)
        all.source.append('two')
        await followed.flush()
      },
      { ...RARELY, parts: { relistMs: 0 } },
    )
    await assertRestores(all, 'copy')
  })
})

describe('a destination', () => {
  test('that is required and fails: nothing is lost, and it is told once', async () => {
    const all = scenario(3)
    const events = await following(all, async (followed) => {
      all.first.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'put' && key.includes('.zst') }])
      all.source.append('one')
      await expect.poll(() => all.first.struck.length).toBeGreaterThan(3)
      all.source.append('two')
      const { lastError, state, pendingBytes, lagMs } = await followed.health()
      expect({ state, code: lastError?.code }).toEqual({ state: 'following', code: 'DESTINATION_FAILED' })
      expect(pendingBytes).toBeGreaterThan(0)
      expect(lagMs).toBeGreaterThan(0)
      all.first.restart()
      await followed.flush()
      expect((await followed.health()).lastError).toBeUndefined()
    })
    expect(warningsIn(events)).toEqual([
      expect.stringMatching(/^What is captured could not be stored: Destination first/),
    ])
    await assertRestores(all, 'copy')
  })

  test('that cannot be listed for a while is no reason for a full', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'list' }])
        all.source.append('one')
        expect(await codeOf(followed.flush())).toBe('DESTINATION_FAILED')
        all.second.restart()
        await followed.flush()
      },
      { ...RARELY, parts: { relistMs: 0 } },
    )
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log'])
  })

  test('that is optional and fails is left out until the next full, and told once', async () => {
    const all = scenario(3)
    const plan = all.planWith({
      destinations: [
        { name: 'first', storage: all.first },
        { name: 'second', storage: all.second, required: false },
      ],
    })
    const events = await following(
      { plan },
      async (followed) => {
        const log = async (): Promise<readonly string[] | undefined> => {
          all.source.append('one more')
          await followed.flush()
          return (await newest({ plan }))?.destinations
        }
        expect(await log()).toEqual(['first', 'second'])
        all.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'put' }])
        expect(await log()).toEqual(['first'])
        all.second.restart()
        expect(await log()).toEqual(['first'])
        expect(await log()).toEqual(['first'])
        await createBackup(plan)
        expect(await log()).toEqual(['first', 'second'])
      },
      { ...RARELY, parts: { relistMs: 0 } },
    )
    expect(warningsIn(events)).toEqual([expect.stringMatching(/^Destination second is left out of this backup/)])
  })
})

describe('a source', () => {
  test('that ends is begun anew, with pauses, until it can be', async () => {
    const all = scenario(3)
    let refusals = 3
    const adapter: BackupAdapter = {
      ...all.source.adapter,
      async follow(base, settings, ctx) {
        if (all.source.followers() === 0 && begun && refusals-- > 0) throw new BackupError('SOURCE_BUSY', 'Not now.')
        begun = true
        return (await all.source.adapter.follow?.(base, settings, ctx)) as LogSource
      },
    }
    let begun = false
    const events = await following({ plan: all.planWith({ adapter }) }, async (followed) => {
      all.source.killFollowers()
      all.source.append('while it is dead')
      await expect.poll(() => refusals).toBeLessThan(0)
      await followed.flush()
      expect(await followed.health()).toMatchObject({ state: 'following', restarts: 1 })
    })
    expect(warningsIn(events)).toEqual([
      'The log is not captured and is begun anew: Killed on purpose.',
      'The log is not captured and is begun anew: Not now.',
    ])
    await assertRestores(all, 'copy')
  })

  test('that never says so is told by its calls', async () => {
    const all = scenario(3)
    let broken = false
    const adapter = withSource(all.source.adapter, (source) => ({
      async *backup(request, ctx, until) {
        if (broken) {
          broken = false
          throw new BackupError('SOURCE_UNREADABLE', 'A broken disk.')
        }
        return yield* source.backup(request, ctx, until)
      },
    }))
    await following(
      { plan: all.planWith({ adapter }) },
      async (followed) => {
        broken = true
        all.source.append('one')
        await followed.flush()
        expect((await followed.health()).restarts).toBe(1)
      },
      RARELY,
    )
    expect(all.source.followers()).toBe(0)
    await assertRestores(all, 'copy')
  })

  test('that finds that it cannot go on makes a full', async () => {
    const all = scenario(3)
    let refuse = false
    const adapter = withSource(all.source.adapter, (source) => ({
      async pending(waitMs) {
        if (refuse) throw new BackupError('BASE_UNUSABLE', 'Another page size.')
        return source.pending(waitMs)
      },
      async close() {
        refuse = false
        await source.close()
      },
    }))
    await following(
      { plan: all.planWith({ adapter }) },
      async (followed) => {
        all.source.append('one')
        await followed.flush()
        refuse = true
        all.source.append('two')
        await followed.flush()
        all.source.append('three')
        await followed.flush()
      },
      RARELY,
    )
    const { backups } = await listBackups(all.plan)
    expect(backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'full', 'log'])
    expect((await manifestOf(all, backups[2]?.id as string)).requested?.reason).toBe('Another page size.')
    await assertRestores(all, 'copy')
  })

  test('that answers at once that there is nothing does not keep the app from its work', async () => {
    const all = scenario(3)
    let asked = 0
    const adapter = withSource(all.source.adapter, () => ({
      pending: async () => {
        asked += 1
        return false
      },
    }))
    await following({ plan: all.planWith({ adapter }) }, () => expect.poll(() => asked).toBeGreaterThan(3))
  })
})

describe('the end', () => {
  test('stop stores what is there, and may be called twice', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.source.append('last')
        await Promise.all([followed.stop(), followed.stop()])
        await followed.done
        expect(all.source.followers()).toBe(0)
        expect(await locksIn(all.first)).toEqual([])
        expect(await followed.health()).toMatchObject({ state: 'stopped', backupId: (await newest(all))?.id })
        expect(await codeOf(followed.flush())).toBe('ABORTED')
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('stop that cannot store ends all the same, and says so', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'put' }])
        all.source.append('last')
        expect(await codeOf(followed.stop())).toBe('DESTINATION_FAILED')
        await followed.done
      },
      RARELY,
    )
    all.second.restart()
    expect(all.source.followers()).toBe(0)
    expect(await locksIn(all.first)).toEqual([])
    await createBackup(all.plan, { kind: 'log' })
    await assertRestores(all, 'copy')
  })

  test('an abort ends it at once, also in the middle of a commit', async () => {
    const all = scenario(3)
    const aborter = new AbortController()
    const events = await following(
      all,
      async (followed) => {
        all.second.restart([
          { kind: 'hang', when: ({ operation, key }) => operation === 'put' && key.includes('.zst') },
        ])
        all.source.append('last')
        const flush = codeOf(followed.flush())
        await expect.poll(() => all.second.struck.length).toBe(1)
        aborter.abort()
        expect(await flush).toBe('ABORTED')
        expect(await codeOf(followed.done)).toBe('ABORTED')
        await followed.stop()
      },
      { ...RARELY, signal: aborter.signal },
    )
    all.second.restart()
    expect(events.at(-1)).toMatchObject({ type: 'failed', verb: 'followLog', code: 'ABORTED' })
    expect(await locksIn(all.first)).toEqual([])
    expect(all.source.followers()).toBe(0)
    expect((await newest(all))?.kind).toBe('full')
  })

  test('it ends with an error when no later attempt could succeed', async () => {
    const all = scenario(3)
    const plan = all.planWith({ strictKinds: true })
    const { id } = await createBackup(plan)
    await following(
      { plan },
      async (followed) => {
        await restoreBackup(plan, { id })
        all.source.append('another history')
        expect(await codeOf(followed.flush())).toBe('BASE_UNUSABLE')
        expect(await codeOf(followed.done)).toBe('BASE_UNUSABLE')
        expect(await followed.health()).toMatchObject({ state: 'stopped' })
      },
      RARELY,
    )
    expect(await locksIn(all.first)).toEqual([])
    expect(all.source.followers()).toBe(0)
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
