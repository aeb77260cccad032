import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { collect, faulty } from '../../testing/src/index.ts'
import { directory, livenessOf, memory, ownIdentity, type Storage } from '../src/index.ts'
import { lockKey } from '../src/layout.ts'
import { acquireLock, type LockMode, type LockTiming } from '../src/lock.ts'
import { codeOf } from './support/text.ts'

const STALE_MS = 30_000
/** Ages are judged by this clock, which only the tests move: a process that stands still for a second changes nothing. */
let clockMs = 0
const TIMING: LockTiming = { staleAfterMs: STALE_MS, beatMs: 30, pollMs: 10, nowMs: () => clockMs }
const runtime = {
  now: () => new Date(),
  randomId: (length: number) => Math.random().toString(36).slice(2).padEnd(length, 'x').slice(0, length),
} as Parameters<typeof acquireLock>[3]

const REQUEST = { mode: 'write', verb: 'createBackup', waitMs: 0, signal: new AbortController().signal } as const

const take = (
  storage: Storage,
  { mode = 'write' as LockMode, waitMs = 0, signal = new AbortController().signal } = {},
) => acquireLock(storage, 'books', { mode, verb: 'createBackup', waitMs, signal }, runtime, TIMING)
const locksIn = async (storage: Storage) => (await collect(storage.list('books/lock-'))).map(({ key }) => key)

/** The same storage; at each look for locks this much time has passed. */
const passing = (storage: Storage, ms: number): Storage => ({
  ...storage,
  async *list(prefix) {
    clockMs += ms
    yield* storage.list(prefix)
  },
})

/** Puts the lock of a process on another machine. */
const foreign = (storage: Storage, beat: number, host = 'another-host') =>
  storage.put(
    lockKey('books', 'foreign'),
    Buffer.from(
      JSON.stringify({
        mode: 'write',
        verb: 'pruneBackups',
        holder: { host, pid: 1 },
        acquiredAt: '2020-01-01T00:00:00.000Z',
        beat,
        beatenAtMs: 0,
      }),
    ),
  )

describe('in one process', () => {
  test.each<[LockMode, LockMode, boolean]>([
    ['read', 'read', true],
    ['read', 'write', true],
    ['write', 'read', true],
    ['write', 'write', false],
    ['read', 'exclusive', false],
    ['exclusive', 'read', false],
    ['exclusive', 'write', false],
    ['exclusive', 'exclusive', false],
    ['follow', 'follow', false],
    ['follow', 'read', true],
    ['follow', 'write', true],
    ['follow', 'exclusive', true],
    ['read', 'follow', true],
    ['write', 'follow', true],
    ['exclusive', 'follow', true],
  ])('%s beside %s: %s', async (held, wanted, together) => {
    const storage = memory()
    const first = await take(storage, { mode: held })
    expect(await codeOf(take(storage, { mode: wanted }).then((lock) => lock.release()))).toBe(
      together ? undefined : 'PLAN_LOCKED',
    )
    await first.assertHeld()
    await first.release()
    await (await take(storage, { mode: wanted })).release()
    expect(await locksIn(storage)).toEqual([])
  })

  test('who follows the log is named', async () => {
    const storage = memory()
    const request = { ...REQUEST, mode: 'follow', verb: 'followLog' } as const
    const lock = await acquireLock(storage, 'books', request, runtime, TIMING)
    await expect(take(storage, { mode: 'follow' })).rejects.toMatchObject({
      code: 'PLAN_LOCKED',
      message: expect.stringMatching(`^The log of plan "books" is being followed by process ${process.pid} on `),
    })
    await lock.release()
  })

  test('a lock that is known not to conflict is not read', async () => {
    const storage = faulty(memory())
    const first = await take(storage, { mode: 'follow' })
    const second = await acquireLock(storage, 'books', { ...REQUEST, beside: first.key }, runtime, TIMING)
    expect(storage.calls.filter(({ operation }) => operation === 'get')).toEqual([])
    await Promise.all([first.release(), second.release()])
    expect(await locksIn(storage)).toEqual([])
  })

  test('many contenders hold it one after another', async () => {
    const storage = memory()
    let holding = 0
    const work = async (): Promise<void> => {
      const lock = await take(storage, { waitMs: 1 })
      expect(++holding).toBe(1)
      await sleep(5)
      holding--
      await lock.release()
    }
    await Promise.all(Array.from({ length: 6 }, work))
    expect(await locksIn(storage)).toEqual([])
  })

  test('contenders whose attempts take much longer than their pauses do not meet for ever', async () => {
    const storage = faulty(memory(), { plan: [{ kind: 'delay', delayMs: 20, when: () => true }] })
    const startedMs = performance.now()
    const timing = { ...TIMING, nowMs: () => performance.now() - startedMs }
    const contend = async (): Promise<void> => {
      const { signal } = new AbortController()
      const request = { mode: 'write', verb: 'createBackup', waitMs: 120_000, signal } as const
      await (await acquireLock(storage, 'books', request, runtime, timing)).release()
    }
    await Promise.all(Array.from({ length: 6 }, contend))
    // With pauses that do not grow it is about 300.
    expect(storage.calls.filter(({ operation }) => operation === 'list').length).toBeLessThan(100)
  })

  test('a live holder is never broken, and named in the error', async () => {
    const storage = memory()
    const holding = faulty(storage)
    const lock = await take(holding)
    // Time passes only together with the holder's beats.
    const waiting: Storage = {
      ...storage,
      async *list(prefix) {
        const beats = holding.calls.length
        await expect.poll(() => holding.calls.length, { interval: 10 }).toBeGreaterThan(beats + 2)
        yield* passing(storage, STALE_MS / 3).list(prefix)
      },
    }
    await expect(take(waiting, { waitMs: 3 * STALE_MS })).rejects.toThrow(
      new RegExp(`createBackup of process ${process.pid}`),
    )
    await lock.assertHeld()
    await lock.release()
  })

  test('a lock whose release failed does not stay for ever', async () => {
    const storage = faulty(memory(), { plan: [{ kind: 'error', when: ({ operation }) => operation === 'delete' }] })
    const lock = await take(storage)
    expect(await codeOf(lock.release())).toBe('STORAGE_FAILED')
    storage.restart()
    clockMs += STALE_MS
    expect(await codeOf(take(storage))).toBe('PLAN_LOCKED')
    clockMs += 1
    await (await take(storage)).release()
    expect(await locksIn(storage)).toEqual([])
  })

  test('a release that fails once is tried again', async () => {
    const storage = faulty(memory(), {
      plan: [{ kind: 'error', when: ({ operation, ofOperation }) => operation === 'delete' && ofOperation < 3 }],
    })
    await (await take(storage)).release()
    expect(await locksIn(storage)).toEqual([])
  })

  test('waiting ends when it is aborted', async () => {
    const storage = memory()
    const lock = await take(storage)
    const aborter = new AbortController()
    setTimeout(() => aborter.abort(), 30)
    expect(await codeOf(take(storage, { waitMs: 1, signal: aborter.signal }))).toBe('ABORTED')
    expect(await locksIn(storage)).toHaveLength(1)
    await lock.release()
  })

  test.each([1, 2, 3])('a contender that fails at call %d leaves no lock of its own', async (call) => {
    const inner = memory()
    for (const after of [false, true]) {
      const storage = faulty(inner, { plan: [{ kind: 'error', after, when: call }] })
      await take(storage).then(
        (lock) => lock.release(),
        () => {},
      )
      expect(await locksIn(inner)).toEqual([])
    }
  })

  test('is lost when somebody removes it', async () => {
    const storage = memory()
    const lock = await take(storage)
    for (const key of await locksIn(storage)) await storage.delete(key)
    lock.assertBeating()
    expect(await codeOf(lock.assertHeld())).toBe('LOCK_LOST')
    expect(() => lock.assertBeating()).toThrow(/removed it/)
    expect(lock.signal.aborted).toBe(true)
    const second = await take(storage)
    for (const key of await locksIn(storage)) await storage.delete(key)
    await expect.poll(() => second.signal.reason).toMatchObject({ code: 'LOCK_LOST' })
    await Promise.all([lock.release(), second.release()])
    expect(await locksIn(storage)).toEqual([])
  })

  test('is lost when its process stood still', async () => {
    const storage = memory()
    const lock = await acquireLock(storage, 'books', REQUEST, runtime, { ...TIMING, beatMs: 3_600_000 })
    clockMs += STALE_MS
    lock.assertBeating()
    clockMs += 1
    expect(() => lock.assertBeating()).toThrow(/stood still for too long/)
    expect(lock.signal.aborted).toBe(true)
    await lock.release()
  })

  test('is lost when it cannot be renewed for too long', async () => {
    const storage = faulty(memory())
    const lock = await take(storage)
    storage.restart([{ kind: 'error', when: ({ operation }) => operation !== 'delete' }])
    clockMs += STALE_MS
    await expect.poll(() => storage.struck.length).toBeGreaterThan(1)
    expect(lock.signal.aborted).toBe(false)
    clockMs += 1
    await once(lock.signal, 'abort')
    expect(lock.signal.reason).toMatchObject({ code: 'LOCK_LOST' })
    await lock.release()
  })

  test('is lost when a renewal of it hangs for too long', async () => {
    const storage = faulty(memory())
    const lock = await take(storage)
    storage.restart([{ kind: 'hang', when: ({ operation }) => operation === 'stat' }])
    await expect.poll(() => storage.struck.length).toBe(1)
    expect(lock.signal.aborted).toBe(false)
    clockMs += STALE_MS + 1
    await once(lock.signal, 'abort')
    expect(lock.signal.reason).toMatchObject({ code: 'LOCK_LOST' })
    storage.restart()
    storage.release()
    await turn()
    await lock.release()
    expect(storage.calls.filter(({ operation }) => operation === 'put')).toEqual([])
    expect(await locksIn(storage)).toEqual([])
  })

  test('that was waited for for long is not taken for an old one', async () => {
    const storage = memory()
    let looks = 0
    const busy: Storage = {
      ...storage,
      async *list(prefix) {
        if (++looks < 6) await foreign(storage, looks)
        else await storage.delete(lockKey('books', 'foreign'))
        yield* passing(storage, STALE_MS / 3).list(prefix)
      },
    }
    const request = { ...REQUEST, waitMs: 3 * STALE_MS }
    const lock = await acquireLock(busy, 'books', request, runtime, { ...TIMING, beatMs: 3_600_000 })
    expect(await codeOf(take(storage))).toBe('PLAN_LOCKED')
    await lock.assertHeld()
    await lock.release()
  })
})

describe('of another machine', () => {
  test('that beats is respected', async () => {
    const inner = memory()
    let beat = 0
    const storage: Storage = {
      ...inner,
      async *list(...args) {
        await foreign(inner, ++beat)
        yield* inner.list(...args)
      },
    }
    expect(await codeOf(take(passing(storage, STALE_MS / 3), { waitMs: 3 * STALE_MS }))).toBe('PLAN_LOCKED')
    expect(beat).toBe(9)
  })

  test('that stands still is taken over, however short the wait', async () => {
    const storage = memory()
    await foreign(storage, 7)
    const startedMs = clockMs
    const lock = await take(passing(storage, STALE_MS / 3))
    expect(clockMs - startedMs).toBe(STALE_MS / 3 + STALE_MS + STALE_MS / 3) // seen, old enough, older
    expect(await locksIn(storage)).toHaveLength(1)
    await lock.release()
  })

  test('that cannot be read is taken over when it stands still, and not before', async () => {
    for (const content of ['', 'null', '{"mode":"write"}', '{"mode":"write","holder":5}']) {
      const storage = memory()
      await storage.put(lockKey('books', 'broken'), Buffer.from(content))
      const startedMs = clockMs
      const lock = await take(passing(storage, STALE_MS / 3))
      expect(clockMs - startedMs, content).toBeGreaterThan(STALE_MS)
      await lock.release()
    }
  })
})

describe('of another process', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lock-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  const start = async (mode: LockMode) => {
    const child = spawn(process.execPath, [
      fileURLToPath(new URL('support/lock-holder.ts', import.meta.url)),
      folder,
      mode,
    ])
    await once(child.stdout, 'data')
    return child
  }

  test('that is stopped is respected; that was killed is taken over at once', async () => {
    const storage = directory(folder)
    const child = await start('exclusive')
    const pid = child.pid as number
    child.kill('SIGSTOP')
    try {
      expect(await codeOf(take(passing(storage, STALE_MS / 3), { waitMs: 3 * STALE_MS }))).toBe('PLAN_LOCKED')
      expect(await livenessOf({ ...(await ownIdentity()), pid, startTicks: (await identityOf(pid)) ?? '' })).toBe(
        'alive',
      )
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    const looked = faulty(storage)
    const lock = await take(looked)
    expect(looked.calls.filter(({ operation }) => operation === 'list')).toHaveLength(1)
    expect(await locksIn(storage)).toHaveLength(1)
    await lock.release()
  })

  test('whose id was given to another process is taken over', async () => {
    const storage = memory()
    const own = await ownIdentity()
    if (own.startTicks === undefined) return
    const content = {
      mode: 'write',
      verb: 'x',
      holder: { ...own, startTicks: '1' },
      acquiredAt: 'x',
      beat: 0,
      beatenAtMs: 0,
    }
    await storage.put(lockKey('books', 'old'), Buffer.from(JSON.stringify(content)))
    await (await take(storage)).release()
    expect(await locksIn(storage)).toEqual([])
  })
})

async function identityOf(pid: number): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises')
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19]
}
