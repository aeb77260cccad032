import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { serverErrorsOf } from '../src/errors.ts'
import { checkOptions } from '../src/options.ts'
import { inSession, openSession, type SqlSession } from '../src/session.ts'
import type { Reply } from './support/tds/reply.ts'
import { startTdsServer, type TdsRequest, type TdsServer, type TdsSession } from './support/tds/server.ts'
import type { ServerMessage } from './support/tds/tokens.ts'

const PASSWORD = 'Pässw0rd;{x}'

const open: { close(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

type Answer = (reply: Reply, request: TdsRequest, session: TdsSession) => void | Promise<void>

/** A server whose requests a test answers. */
async function serve(answer: Answer): Promise<TdsServer> {
  const server = await startTdsServer({
    name: 'FAKESQL',
    version: [16, 0, 4135],
    login: ({ password }) =>
      password === PASSWORD ? undefined : [{ number: 18_456, message: `Login failed for user 'sa'.`, class: 14 }],
    async request(request, reply, session) {
      if (request.text === 'SELECT 1;') return reply.rows([{ name: '', type: 'int' }], [[1]])
      if (!request.text.startsWith('set ansi_nulls')) await answer(reply, request, session)
    },
  })
  open.push(server)
  return server
}

function optionsFor(port: number, password = PASSWORD) {
  return checkOptions({
    connection: { server: '127.0.0.1', port, user: 'sa', password, options: { encrypt: false } },
    database: 'app',
    transfer: { type: 'on-server', serverDirectory: '/backup' },
  })
}

async function connect(server: TdsServer, signal = new AbortController().signal): Promise<SqlSession> {
  const session = await openSession(optionsFor(server.port), signal)
  open.unshift(session)
  return session
}

const progress = (percent: number): ServerMessage => ({
  number: 3211,
  message: `${percent} percent processed.`,
  class: 0,
})
const error = (number: number, message: string): ServerMessage => ({ number, message, class: 16 })

/** Never answers, but to an attention. */
const hang: Answer = (_, { signal }) =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))

describe('a session with a fake SQL Server', () => {
  test('is one connection for as long as it lives', async () => {
    const ids: number[] = []
    const session = await connect(
      await serve((reply, { text }, { id }) => {
        ids.push(id)
        if (text === 'SELECT id') reply.rows([{ name: 'id', type: 'int' }], [[id]])
      }),
    )
    const [{ id } = { id: 0 }] = await session.rows<{ id: number }>('SELECT id')
    await session.run('SOMETHING')
    await Promise.all([session.rows('SELECT id'), session.run('ELSE')])
    expect(ids).toEqual([id, id, id, id])
  })

  test('logs in to master, as itself', async () => {
    let seen: Partial<TdsSession> = {}
    const session = await connect(
      await serve((reply, _, { database, application, user }) => {
        seen = { database, application, user }
        reply.rows([{ name: 'x', type: 'int' }], [])
      }),
    )
    expect(await session.rows('SELECT x')).toEqual([])
    expect(seen).toEqual({ database: 'master', application: 'taskflow-backup', user: 'sa' })
  })

  test('passes parameters as they are', async () => {
    let seen: unknown
    const session = await connect(
      await serve((reply, { parameters }) => {
        seen = Object.fromEntries(parameters.map(({ name, value }) => [name.replace('@', ''), value]))
        reply.rows([{ name: 'x', type: 'int' }], [])
      }),
    )
    const text = `o'brien] 🐘 ${'x'.repeat(9000)}`
    await session.rows('SELECT @a, @b, @c, @d', { a: text, b: 5_000_000_000, c: true, d: null })
    expect(seen).toMatchObject({ a: text, c: true, d: null })
    expect(BigInt((seen as { b: bigint }).b)).toBe(5_000_000_000n)
  })

  test('tells how far a statement is, and returns all that was said', async () => {
    const session = await connect(
      await serve((reply) => {
        reply.say(progress(10))
        reply.rows([{ name: 'x', type: 'int' }], [[1]])
        reply.say({ number: 4035, message: 'Processed 8 pages.', class: 0 })
        reply.rows([{ name: 'y', type: 'int' }], [[1]])
        reply.say(progress(100))
      }),
    )
    const percents: number[] = []
    const messages = await session.run('BACKUP', { onPercent: (percent) => percents.push(percent) })
    expect(percents).toEqual([10, 100])
    expect(messages.map(({ number }) => number)).toEqual([3211, 4035, 3211])
  })

  test('fails with the cause, and goes on', async () => {
    const session = await connect(
      await serve((reply, { text }) => {
        if (text !== 'BACKUP DATABASE [app]\nWITH FORMAT') return reply.rows([{ name: 'x', type: 'int' }], [[7]])
        reply.say(progress(10))
        reply.say(error(3202, 'Write on "/b" failed: 112(There is not enough space on the disk.)'))
        reply.say(error(3013, 'BACKUP DATABASE is terminating abnormally.'))
      }),
    )
    const failure = await session.run('BACKUP DATABASE [app]\nWITH FORMAT').catch((reason: unknown) => reason)
    expect(failure).toMatchObject({ code: 'STORAGE_FULL' })
    expect((failure as Error).message).toMatch(/^BACKUP DATABASE \[app\]: 3202: Write on .* \(also 3013: /)
    expect(serverErrorsOf(failure).map(({ number }) => number)).toEqual([3202, 3013])
    expect(await session.rows('SELECT x')).toEqual([{ x: 7 }])
    expect(session.broken).toBe(false)
  })

  test('an abort ends the statement on the server; what comes after still runs', async () => {
    let ended = 0
    const server = await serve(async (reply, request, session) => {
      if (request.text !== 'BACKUP') return reply.rows([{ name: 'x', type: 'int' }], [[7]])
      reply.say(progress(1))
      await hang(reply, request, session)
      ended++
    })
    const abort = new AbortController()
    const session = await connect(server, abort.signal)
    const running = session.run('BACKUP', { signal: abort.signal, onPercent: () => abort.abort() })
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' })
    expect(ended).toBe(1)
    expect(await session.rows('SELECT x')).toEqual([{ x: 7 }])
    await expect(session.run('BACKUP', { signal: abort.signal })).rejects.toMatchObject({ code: 'ABORTED' })
    expect(ended).toBe(1)
  })

  test('an abort ends a query that runs', async () => {
    const abort = new AbortController()
    const asked = vi.fn(hang)
    const session = await connect(await serve(asked), abort.signal)
    void expect
      .poll(() => asked.mock.calls.length)
      .toBe(1)
      .then(() => abort.abort())
    await expect(session.rows('SELECT x')).rejects.toMatchObject({ code: 'ABORTED' })
  })

  test('a statement that says nothing for too long is ended; one that says something is not', async () => {
    const session = await connect(
      await serve(async (reply, request, tds) => {
        if (request.text === 'SILENT') return hang(reply, request, tds)
        for (let percent = 1; percent <= 6; percent++) {
          reply.say(progress(percent))
          await sleep(100)
        }
      }),
    )
    await expect(session.run('SILENT', { inactivityMs: 300 })).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      retryable: true,
    })
    await session.run('TALKING', { inactivityMs: 400 })
  })

  test('time in which this process stood still is not silence of the server', async () => {
    const session = await connect(
      await serve(async (reply) => {
        for (let percent = 1; percent <= 6; percent++) {
          reply.say(progress(percent))
          await sleep(20)
          // Nobody can read meanwhile what was said.
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
        }
      }),
    )
    await session.run('TALKING', { inactivityMs: 300 })
  })

  test('a lost connection fails what runs and all that follows: it is never replaced', async () => {
    const sessions = new Set<number>()
    const server = await serve((reply, { text }, session) => {
      sessions.add(session.id)
      if (text === 'BACKUP') return session.drop()
      reply.rows([{ name: 'x', type: 'int' }], [[7]])
    })
    const session = await connect(server)
    await expect(session.run('BACKUP')).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
    await expect.poll(() => session.broken).toBe(true)
    await expect(session.rows('SELECT x')).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' })
    await expect(session.run('x')).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' })
    expect(sessions.size).toBe(1)
  })

  test('a connection that is lost while idle is noticed too', async () => {
    const server = await serve((reply) => reply.rows([{ name: 'x', type: 'int' }], [[7]]))
    const session = await connect(server)
    for (const one of server.sessions) one.drop()
    await expect.poll(() => session.broken).toBe(true)
    await expect(session.rows('SELECT x')).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' })
  })

  test('close leaves no connection, also while a statement hangs', async () => {
    const asked = vi.fn(hang)
    const server = await serve(asked)
    const session = await openSession(optionsFor(server.port), new AbortController().signal)
    const running = session.run('BACKUP').catch((reason: unknown) => reason)
    await expect.poll(() => asked.mock.calls.length).toBe(1)
    await session.close()
    expect(await running).toMatchObject({ code: 'SERVER_UNREACHABLE' })
    await expect.poll(() => server.sessions.length).toBe(0)
  })

  test('the work of a session may fail: it is closed', async () => {
    const server = await serve(() => {})
    const work = inSession(optionsFor(server.port), new AbortController().signal, async () => {
      throw new RangeError('mine')
    })
    await expect(work).rejects.toThrow('mine')
    await expect.poll(() => server.sessions.length).toBe(0)
  })

  test('a refused login says so, without the password', async () => {
    const server = await serve(() => {})
    const failure = await openSession(optionsFor(server.port, 'wrong-Pässw0rd'), new AbortController().signal).catch(
      (reason: unknown) => reason,
    )
    expect(failure).toMatchObject({ code: 'SERVER_REFUSED' })
    expect(inspect(failure, { depth: 20, showHidden: true })).not.toContain('wrong-Pässw0rd')
  })

  test('no server at all', async () => {
    const server = await startTdsServer({
      name: 'x',
      version: [16, 0, 0],
      login: () => undefined,
      request: async () => {},
    })
    await server.close()
    await expect(openSession(optionsFor(server.port), new AbortController().signal)).rejects.toMatchObject({
      code: 'SERVER_UNREACHABLE',
      retryable: true,
    })
  })

  test('an abort while connecting', async () => {
    const server = await serve(() => {})
    const abort = new AbortController()
    const opening = openSession(optionsFor(server.port), abort.signal)
    setImmediate(() => abort.abort())
    await expect(opening).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(openSession(optionsFor(server.port), abort.signal)).rejects.toMatchObject({ code: 'ABORTED' })
    await expect.poll(() => server.sessions.length).toBe(0)
  })
})
