import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import type { LogSource, Manifest } from '@taskflow-backup/core'
import { describe, expect } from 'vitest'
import { type SqliteOptions, sqlite } from '../src/index.ts'
import { Chain } from './support/chain.ts'
import { type Place, test } from './support/place.ts'
import type { Agent } from './support/processes.ts'
import { tasksIn } from './support/tasks.ts'
import { stateOf } from './support/tracking.ts'

async function startApp(place: Place, journalMode = 'wal'): Promise<Agent> {
  const app = await place.agent()
  await app.run(
    ({ Database, held }, { file, journalMode }) => {
      held.app = new Database(file)
      held.app.pragma(`journal_mode = ${journalMode}`)
      held.app.exec('CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)')
    },
    { file: place.file, journalMode },
  )
  await add(app, 5)
  return app
}

const add = (app: Agent, count = 1): Promise<void> =>
  app.run(({ held }, count) => {
    for (let i = 0; i < count; i++) held.app?.exec("INSERT INTO task (title) VALUES ('a task')")
  }, count)

async function startChain(place: Place, options: Partial<SqliteOptions> = {}, name = '20260101-a'): Promise<Chain> {
  const chain = new Chain(place, sqlite({ file: place.file, ...options }), name)
  await chain.full()
  return chain
}

async function follow(place: Place, chain: Chain, everyMs = 20): Promise<LogSource> {
  const adapter = sqlite({ file: place.file })
  const source = (await adapter.follow?.(chain.base, { everyMs }, place.context())) as LogSource
  place.atEnd(() => source.close())
  return source
}

const expectCurrent = (place: Place, chain: Chain): void => {
  expect(chain.bytes.equals(stateOf(place.file).bytes)).toBe(true)
}

describe('called now and then', () => {
  test('each log has what was committed since the last, from the frames of the log', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    for (const count of [3, 1, 0, 7]) {
      await add(app, count)
      const log = await chain.log()
      expect(log).toMatchObject({ method: 'wal-frames' })
      expect(log.gaps).toBeUndefined()
      expect(Number(log.source.details?.lastCommit) - Number(log.source.details?.firstCommit) + 1).toBe(count)
      expect(log.notes).toEqual(count === 0 ? ['Nothing was committed since the last backup.'] : [])
      expectCurrent(place, chain)
    }
    expect(await readdir(place.temporary)).toEqual([])
  })

  test.for(['wal', 'delete', 'truncate', 'persist'])('in %s mode, after anything', async (journalMode, { place }) => {
    const app = await startApp(place, journalMode)
    const chain = await startChain(place)
    const EVENTS = ['PRAGMA wal_checkpoint(TRUNCATE)', 'VACUUM', 'DELETE FROM task WHERE id % 2', 'SELECT 1']
    for (const event of EVENTS) {
      await app.run(({ held }, event) => void held.app?.exec(event), event)
      await add(app, 2)
      const log = await chain.log()
      expect(log.gaps ?? []).toHaveLength(log.method === 'page-comparison' ? 1 : 0)
      expectCurrent(place, chain)
    }
    // The app has it open all the time: only a log that was begun anew must be compared.
    const methods = chain.manifests.slice(1).map(({ method }) => method)
    if (journalMode === 'wal') expect(methods).toEqual(['page-comparison', 'wal-frames', 'wal-frames', 'wal-frames'])
    else expect(new Set(methods)).toEqual(new Set(['page-comparison']))
  })

  test('a comparison that finds nothing is told as one', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    await app.run(({ held }) => void held.app?.pragma('wal_checkpoint(TRUNCATE)'), undefined)
    const compared = await chain.log()
    expect(compared).toMatchObject({ method: 'page-comparison', source: { details: { steps: 1, pages: 0 } } })
    expect(compared.gaps).toBeUndefined()
    expect(compared.notes).toEqual(['Nothing was committed since the last backup.'])
    await add(app, 2) // into a log that was begun anew: where it goes on is known from then on
    expect((await chain.log()).method).toBe('page-comparison')
    expect((await chain.log()).method).toBe('wal-frames')
    expectCurrent(place, chain)
  })

  test('the log stays where it is, also when nobody else has the database open', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    await add(app)
    await app.kill()
    const before = await place.besideLive()
    expect((await chain.log()).method).toBe('wal-frames')
    expect(await place.besideLive()).toEqual(before)
    expect((await chain.log()).method).toBe('wal-frames')
    expect(tasksIn(place.file).length).toBe(6)
  })

  test('where the log cannot be read, it is compared', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place, { image: 'online-backup' })
    await add(app)
    const log = await chain.log()
    expect(log.method).toBe('page-comparison')
    expect(log.gaps?.[0]?.reason).toMatch('cannot be read')
    writeFileSync(place.path('restored.db'), chain.bytes) // a copy by SQLite is not the same byte for byte
    expect(tasksIn(place.path('restored.db')).length).toBe(6)
  })
})

describe('followed', () => {
  test.for([
    { journalMode: 'wal', methods: ['page-comparison', 'wal-frames', 'wal-frames'] },
    { journalMode: 'delete', methods: ['page-comparison', 'page-comparison', 'page-comparison'] },
  ])('a backup of nothing in $journalMode mode tells how that was found', async (wanted, { place }) => {
    const app = await startApp(place, wanted.journalMode)
    const chain = await startChain(place)
    if (wanted.journalMode === 'wal')
      await app.run(({ held }) => void held.app?.pragma('wal_checkpoint(TRUNCATE)'), undefined)
    const source = await follow(place, chain)
    const methods: string[] = []
    for (const count of [0, 0, 1]) {
      await add(app, count)
      expect(await source.pending(0)).toBe(count > 0)
      methods.push((await chain.logOf(source)).method)
    }
    expect(methods).toEqual(wanted.methods)
    expectCurrent(place, chain)
  })

  test('what is captured waits until it is committed, and is given again until then', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    const source = await follow(place, chain)
    expect(await source.pending(1)).toBe(false)
    const [waiting] = await Promise.all([source.pending(60_000), add(app, 3)])
    expect(waiting).toBe(true)
    const lost = new Chain(place, sqlite({ file: place.file }), 'lost')
    await lost.full()
    await add(app, 2)
    const refused = source.backup(
      {
        kind: 'log',
        id: '20260101-a/x',
        startedAt: new Date(),
        fileStem: 'tasks',
        compression: { algorithm: 'zstd', level: 3 },
        base: chain.base,
      },
      place.context(),
    )
    await refused.next()
    await refused.return(undefined as never) // the destination failed
    expect(await source.pending(1)).toBe(true)
    expect((await source.status()).pendingBytes).toBeGreaterThan(0)
    const log = await chain.logOf(source)
    expect(log).toMatchObject({ method: 'wal-frames', source: { details: { firstCommit: 1, lastCommit: 5 } } })
    expectCurrent(place, chain)
    expect(await source.pending(1)).toBe(false)
    expect((await source.status()).pendingBytes).toBe(0)
    expect((await chain.logOf(source)).notes).toEqual(['Nothing was committed since the last backup.'])
  })

  test('what is committed while a backup is written is captured meanwhile', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    const source = await follow(place, chain, 60_000) // looks only when it is asked
    await app.run(({ held }) => {
      held.app?.exec('CREATE TABLE bulk (v); INSERT INTO bulk VALUES (randomblob(8000000))')
    }, undefined)
    const compression = { algorithm: 'zstd', level: 19 } as const
    const request = { kind: 'log', id: '20260101-a/x', startedAt: new Date(), fileStem: 'tasks' } as const
    const writing = source.backup({ ...request, compression, base: chain.base }, place.context())
    const order: string[] = []
    const first = writing.next().then(() => order.push('written'))
    await expect.poll(async () => (await source.status()).pendingBytes, { interval: 5 }).toBeGreaterThan(8_000_000)
    const before = (await source.status()).pendingBytes
    await add(app, 3)
    await source.pending(0)
    order.push('captured')
    expect((await source.status()).pendingBytes).toBeGreaterThan(before)
    await first
    expect(order).toEqual(['captured', 'written'])
    await writing.return(undefined as never)
    expect((await chain.logOf(source)).source.details).toMatchObject({ firstCommit: 1, lastCommit: 5 })
    expectCurrent(place, chain)
  })

  test('a new full that was made meanwhile begins a chain without a gap', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    const source = await follow(place, chain)
    await add(app, 2)
    await chain.logOf(source)
    const next = await startChain(place, {}, '20260102-b')
    await add(app, 4)
    await chain.logOf(source) // committed before anybody knew of the new full
    await add(app, 3)
    const [full] = next.manifests as [Manifest]
    const last = await chain.logOf(source, full)
    expect(last.source.details?.lastCommit).toBe(6) // all of what was in a log stays there
    await source.continueFrom(next.base)
    const log = await next.logOf(source)
    expect(log).toMatchObject({ method: 'wal-frames' })
    expect(log.gaps).toBeUndefined()
    expect(log.source.details).toMatchObject({ firstCommit: 1, lastCommit: 7 })
    expectCurrent(place, next)
    await add(app, 1)
    expect((await next.logOf(source)).source.details).toMatchObject({ firstCommit: 8, lastCommit: 8 })
    expectCurrent(place, next)
  })

  test('of what waits, the part up to the new full goes to the old chain', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    const source = await follow(place, chain, 3_600_000) // looks only when it is asked
    await add(app, 4)
    const next = await startChain(place, {}, '20260102-b')
    await add(app, 3)
    const log = await chain.logOf(source, next.manifests[0])
    expect(log.source.details).toMatchObject({ firstCommit: 1, lastCommit: 4 })
    expect(chain.bytes.equals(next.bytes)).toBe(true)
    await source.continueFrom(next.base)
    expect((await next.logOf(source)).source.details).toMatchObject({ firstCommit: 1, lastCommit: 3 })
    expectCurrent(place, next)
  })

  test('a full whose state was never captured is continued with a gap, or where its log goes on', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    await add(app, 2)
    const before = await startChain(place, {}, '20260102-b')
    await add(app, 2)
    await app.run(({ held }) => void held.app?.pragma('wal_checkpoint(TRUNCATE)'))
    await add(app, 2)
    const source = await follow(place, chain)
    expect((await chain.logOf(source)).method).toBe('page-comparison')
    await source.continueFrom(before.base)
    const log = await before.logOf(source)
    expect(log.method).toBe('page-comparison')
    expect(log.gaps).toHaveLength(1)
    expectCurrent(place, before)
    await add(app)
    expect((await before.logOf(source)).method).toBe('wal-frames')
    expectCurrent(place, before)
  })

  test.skipIf(process.platform === 'win32')(
    'a follower that is killed is told, leaves nothing, and another goes on without a gap',
    async ({ place }) => {
      const app = await startApp(place)
      const chain = await startChain(place)
      let pid = 0
      const spying = ((...given: Parameters<typeof spawn>) => {
        const child = spawn(...given)
        pid = child.pid as number
        return child
      }) as typeof spawn
      const adapter = sqlite({ file: place.file })
      const start = async () =>
        (await adapter.follow?.(chain.base, { everyMs: 20 }, place.context({ spawn: spying }))) as LogSource
      for (let round = 0; round < 3; round++) {
        const source = await start()
        await add(app, 3)
        await chain.logOf(source)
        await add(app, 2) // captured or not, and in no backup
        process.kill(pid, 'SIGKILL')
        await expect(source.ended).rejects.toMatchObject({ code: 'CHILD_FAILED' })
        await expect(source.pending(1_000)).rejects.toMatchObject({ code: 'CHILD_FAILED' })
        expect(await readdir(place.temporary)).toEqual([])
      }
      const source = await start()
      await chain.logOf(source)
      expectCurrent(place, chain)
      expect(chain.manifests.slice(1).every(({ method }) => method === 'wal-frames')).toBe(true)
      await source.close()
      await source.ended
      expect(() => process.kill(pid, 0)).toThrow(/ESRCH/)
      expect(await readdir(place.temporary)).toEqual([])
      await app.run(({ held }) => void held.app?.close())
      expect(tasksIn(place.file).length).toBe(5 + 3 * 5)
    },
  )

  test('it says why it cannot, and leaves nothing', async ({ place }) => {
    const app = await startApp(place)
    const chain = await startChain(place)
    const unable = sqlite({ file: place.file, image: 'online-backup' })
    await expect(unable.follow?.(chain.base, { everyMs: 20 }, place.context())).rejects.toMatchObject({
      code: 'SOURCE_UNREADABLE',
      message: expect.stringContaining('cannot be followed'),
      hint: expect.stringContaining('on a schedule'),
    })
    await app.run(({ held }) => {
      for (const sql of ['journal_mode = delete', 'page_size = 8192']) held.app?.pragma(sql)
      held.app?.exec('VACUUM')
    })
    await expect(follow(place, chain)).rejects.toMatchObject({ code: 'BASE_UNUSABLE' })
    expect(await readdir(place.temporary)).toEqual([])
  })

  test('a page size that changed while what is captured still waits: that is given first', async ({ place }) => {
    const app = await startApp(place, 'delete')
    const chain = await startChain(place)
    const source = await follow(place, chain)
    await add(app, 2)
    expect(await source.pending(60_000)).toBe(true)
    const before = stateOf(place.file).bytes
    await app.run(({ held }) => {
      held.app?.pragma('page_size = 8192')
      held.app?.exec('VACUUM')
    })
    await chain.logOf(source)
    expect(chain.bytes.equals(before)).toBe(true)
    await expect(source.ended).rejects.toMatchObject({ code: 'BASE_UNUSABLE' })
  })
})
