import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ConnectionSettings, resolveConnection } from '../src/connection.ts'
import { PG_MAJOR, ReplicationConnection } from '../src/replication/connection.ts'
import { leftOnServer } from './support/physical.ts'
import { whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

test('the allowed versions of pg are those whose inside is known', () => {
  const { dependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const { version } = createRequire(import.meta.url)('pg/package.json') as { version: string }
  // A caret keeps the major version. The cases below run against the newest one that it allows.
  expect(dependencies.pg).toMatch(new RegExp(`^\\^${PG_MAJOR}\\.`))
  expect(version).toMatch(new RegExp(`^${PG_MAJOR}\\.`))
})

const missing = whyNoServer(17)
describe.skipIf(missing)(`a replication connection${missing ? ` (${missing})` : ''}`, () => {
  let server: TestServer
  let settings: ConnectionSettings
  beforeAll(async () => {
    server = await TestServer.start(17, { lean: true, settings: { summarize_wal: 'on' } })
    settings = await resolveConnection(server.connection())
  })
  afterAll(() => server?.destroy())

  const use = async (work: (connection: ReplicationConnection) => Promise<void>): Promise<void> => {
    const connection = await ReplicationConnection.connect(settings)
    try {
      await work(connection)
    } finally {
      await connection.close()
    }
  }

  test('gives the rows of commands, one after another', () =>
    use(async (connection) => {
      const { systemid, timeline, dbname } = await connection.row('IDENTIFY_SYSTEM')
      expect({ timeline, dbname }).toEqual({ timeline: '1', dbname: null })
      expect(systemid).toMatch(/^\d{19}$/)
      expect(await connection.row('SHOW wal_segment_size')).toEqual({ wal_segment_size: '16MB' })
    }))

  test('a refused command leaves the connection usable', () =>
    use(async (connection) => {
      await expect(connection.run('TIMELINE_HISTORY 99')).rejects.toMatchObject({ code: 'SERVER_FAILED' })
      await expect(connection.run('SELECT 1')).rejects.toMatchObject({ code: 'SERVER_FAILED' })
      expect(await connection.row('SHOW port')).toEqual({ port: '5432' })
    }))

  test('what a handler throws fails the command, and every one after it', () =>
    use(async (connection) => {
      const broken = new Error('cannot take it')
      const onCopyData = (): never => {
        throw broken
      }
      await expect(connection.run("BASE_BACKUP (CHECKPOINT 'fast')", { onCopyData })).rejects.toMatchObject({
        message: expect.stringContaining('cannot take it'),
      })
      await expect(connection.run('IDENTIFY_SYSTEM')).rejects.toThrow('cannot take it')
      await expect.poll(() => leftOnServer(server)).toEqual([])
    }))

  test('pausing stops what comes, and nothing is lost', () =>
    use(async (connection) => {
      let bytes = 0
      let messages = 0
      let pauses = 0
      const results = await connection.run("BASE_BACKUP (CHECKPOINT 'fast', MANIFEST 'yes', WAL true, WAIT false)", {
        onCopyData(piece, _first, last) {
          bytes += piece.length
          if (last) messages++
          if (messages % 200 !== 0 || !last) return
          pauses++
          connection.pause()
          setTimeout(() => connection.resume(), 1)
        },
      })
      expect(pauses).toBeGreaterThan(2)
      expect(bytes).toBeGreaterThan(20_000_000)
      expect(results.at(-1)?.[0]).toMatchObject({ tli: '1' })
    }))

  test('data for the server is sent with back-pressure', () =>
    use(async (connection) => {
      const line = Buffer.from(`${' '.repeat(65_535)}\n`)
      const upload = connection.run('UPLOAD_MANIFEST', {
        async onCopyIn() {
          for (let count = 0; count < 200; count++) await connection.send(line)
          connection.sendDone()
        },
      })
      await expect(upload).rejects.toMatchObject({ message: expect.stringContaining('manifest') })
    }))

  test('a server that goes away fails the command', async () => {
    await use(async (connection) => {
      let paused = false
      const onCopyData = (): void => {
        if (!paused) connection.pause()
        paused = true
      }
      const running = connection.run("BASE_BACKUP (CHECKPOINT 'fast')", { onCopyData })
      const outcome = expect(running).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
      await expect.poll(() => paused).toBe(true)
      await server.stop('SIGKILL')
      connection.resume()
      await outcome
    })
    await server.run()
  })
})
