import { once } from 'node:events'
import * as net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import sql from 'mssql'
import { Connection } from 'tedious'
import { afterEach, describe, expect, test } from 'vitest'
import { type PoolConfig, poolFor } from './support/tds/client.ts'
import type { Reply } from './support/tds/reply.ts'
import { startTdsServer, type TdsHandler, type TdsRequest, type TdsServer } from './support/tds/server.ts'
import type { ServerMessage } from './support/tds/tokens.ts'
import type { ColumnType, Value } from './support/tds/types.ts'

const PASSWORD = 'Pässw0rd!; "x" ¥'

/** A server whose requests a test answers. */
function answering(answer: (reply: Reply, request: TdsRequest) => void | Promise<void>): TdsHandler {
  return {
    name: 'FAKESQL',
    version: [16, 0, 4135],
    login: ({ password }) =>
      password === PASSWORD ? undefined : [{ number: 18_456, message: 'Login failed.', class: 14 }],
    async request(request, reply) {
      if (request.text === 'SELECT 1;') return reply.rows([{ name: '', type: 'int' }], [[1]])
      if (!request.text.startsWith('set ansi_nulls')) await answer(reply, request)
    },
  }
}

const progress = (percent: number): ServerMessage => ({
  number: 3211,
  message: `${percent} percent processed.`,
  class: 0,
})

const open: { close(): Promise<unknown> }[] = []
const problems: Error[] = []

async function serve(handler: TdsHandler): Promise<TdsServer> {
  const server = await startTdsServer(handler, { onProtocolError: (error) => problems.push(error) })
  open.push(server)
  return server
}

async function connect(server: TdsServer, config: Omit<PoolConfig, 'port'> = {}): Promise<sql.ConnectionPool> {
  const pool = poolFor({ port: server.port, user: 'sa', password: PASSWORD, ...config })
  open.unshift(pool)
  return pool.connect()
}

afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
  expect(problems.splice(0)).toEqual([])
})

describe('fake SQL Server: its protocol, with mssql and tedious', () => {
  const TYPES: readonly (readonly [ColumnType, Value, unknown])[] = [
    ['tinyint', 255, 255],
    ['smallint', -32_768, -32_768],
    ['int', -2_147_483_648, -2_147_483_648],
    ['bigint', -9_223_372_036_854_775_808n, '-9223372036854775808'],
    ['bit', true, true],
    ['float', 0.1, 0.1],
    ['nvarchar', 'häßlich 🐘', 'häßlich 🐘'],
    ['varchar', '38000000018300165', '38000000018300165'],
    ['nvarchar(max)', 'x'.repeat(20_000), 'x'.repeat(20_000)],
    ['nvarchar(max)', '', ''],
    ['varbinary(max)', Buffer.alloc(100_000, 7), Buffer.alloc(100_000, 7)],
    ['numeric(20,0)', '9007199254740991', 9_007_199_254_740_991],
    // What the driver makes of an LSN: the last digits are gone, which is why the queries cast them.
    ['numeric(25,0)', '38000000018300165', 38_000_000_018_300_170],
    ['datetime', '2024-03-01T12:34:56.997', new Date('2024-03-01T12:34:56.997Z')],
    ['datetime', '1899-12-31T23:59:59.000', new Date('1899-12-31T23:59:59.000Z')],
    ['datetime2', '2024-03-01T12:34:56.789', new Date('2024-03-01T12:34:56.789Z')],
    ['uniqueidentifier', '6F9619FF-8B86-D011-B42D-00C04FC964FF', '6F9619FF-8B86-D011-B42D-00C04FC964FF'],
  ]
  test.each(TYPES)('%s, and NULL of it', async (type, value, arrives) => {
    const server = await serve(answering((reply) => reply.rows([{ name: 'v', type }], [[value], [null]])))
    const { recordset } = await (await connect(server)).request().query('SELECT v')
    expect(recordset[0].v).toEqual(arrives)
    expect(recordset[1].v).toBeNull()
  })

  test('parameters arrive as they were given', async () => {
    const seen: Value[] = []
    const server = await serve(answering((_, { parameters }) => void seen.push(...parameters.map((one) => one.value))))
    const request = (await connect(server)).request()
    const given: readonly (readonly [sql.ISqlType | (() => sql.ISqlType), Value])[] = [
      [sql.NVarChar(128), "o'brien]"],
      [sql.NVarChar(sql.MAX), 'y'.repeat(9000)],
      [sql.VarChar(50), '38000000018300165'],
      [sql.VarBinary(sql.MAX), Buffer.from([1, 2, 3])],
      [sql.Int, -7],
      [sql.BigInt, 9_007_199_254_740_993n],
      [sql.Bit, true],
      [sql.Float, 0.25],
      [sql.Decimal(25, 2), '-1234.5'],
      [sql.DateTime, new Date('2024-03-01T12:34:56.997Z')],
      [sql.DateTime2(7), new Date('2024-03-01T12:34:56.789Z')],
      [sql.DateTimeOffset(7), new Date('2024-03-01T12:34:56.789Z')],
      [sql.UniqueIdentifier, '6F9619FF-8B86-D011-B42D-00C04FC964FF'],
      [sql.NVarChar(10), null],
      [sql.Int, null],
    ]
    for (const [index, [type, value]] of given.entries()) request.input(`p${index}`, type as sql.ISqlType, value)
    await request.query('SELECT 1 WHERE 1 = @p0')
    expect(seen).toEqual(given.map(([, value]) => (value === '-1234.5' ? '-1234.50' : value)))
  })

  test('messages come while the statement runs, and do not make result sets', async () => {
    const came: number[] = []
    const server = await serve(
      answering(async (reply) => {
        for (const percent of [10, 50, 100]) {
          const before = came.length
          reply.say(progress(percent))
          await expect.poll(() => came.length).toBe(before + 1) // it goes on when that was heard
        }
        reply.done()
      }),
    )
    const request = (await connect(server)).request()
    request.on('info', ({ number }) => came.push(number))
    const { recordsets } = await request.batch('BACKUP DATABASE [a]')
    expect(recordsets).toEqual([])
    expect(came).toEqual([3211, 3211, 3211])
  })

  test.each(['batch', 'query'] as const)('an error keeps the one before it (%s)', async (way) => {
    const server = await serve(
      answering((reply) => {
        reply.say({ number: 3201, message: "Cannot open backup device '/no/x.bak'.", class: 16 })
        reply.say({ number: 3013, message: 'BACKUP DATABASE is terminating abnormally.', class: 16 })
      }),
    )
    await expect((await connect(server)).request()[way]('BACKUP')).rejects.toMatchObject({
      number: 3013,
      precedingErrors: [{ number: 3201 }],
    })
  })

  test('cancelling ends the statement, and the connection lives on', async () => {
    let stopped = false
    const server = await serve(
      answering(async (reply, { text, signal }) => {
        if (text !== 'slow') return reply.rows([{ name: 'a', type: 'int' }], [[2]])
        reply.say(progress(10))
        await sleep(30_000, undefined, { signal }).catch(() => {})
        stopped = signal.aborted
      }),
    )
    const pool = await connect(server, { pool: { max: 1 } })
    const request = pool.request()
    request.on('info', () => request.cancel())
    await expect(request.batch('slow')).rejects.toMatchObject({ code: 'ECANCEL' })
    expect(stopped).toBe(true)
    expect((await pool.request().query('SELECT a')).recordset).toEqual([{ a: 2 }])
    expect(server.sessions).toHaveLength(1)
  })

  test('a connection dropped in the middle of a response', async () => {
    const server = await serve({
      ...answering(() => {}),
      async request({ text }, reply, session) {
        if (text === 'SELECT 1;') return reply.rows([{ name: '', type: 'int' }], [[1]])
        if (text !== 'BACKUP') return
        reply.say(progress(10))
        await sleep(20)
        session.drop()
      },
    })
    const pool = await connect(server)
    await expect(pool.request().batch('BACKUP')).rejects.toMatchObject({ name: 'RequestError' })
  })

  test('transactions, and a response larger than many packets', async () => {
    const states: boolean[] = []
    const base = answering(() => {})
    const server = await serve({
      ...base,
      async request(request, reply, session) {
        if (request.text !== 'SELECT a') return base.request(request, reply, session)
        states.push(session.inTransaction)
        reply.rows(
          [{ name: 'a', type: 'int' }],
          Array.from({ length: 5000 }, (_, index) => [index]),
        )
      },
    })
    const pool = await connect(server)
    const transaction = new sql.Transaction(pool)
    await transaction.begin()
    expect((await new sql.Request(transaction).query('SELECT a')).recordset.at(-1)).toEqual({ a: 4999 })
    await transaction.commit()
    await pool.request().query('SELECT a')
    expect(states).toEqual([true, false])
  })

  test('a session that is reset is as new, without a new connection', async () => {
    const reset: number[] = []
    const server = await serve({ ...answering(() => {}), reset: ({ id }) => void reset.push(id) })
    const options = { port: server.port, encrypt: false }
    const authentication = { type: 'default' as const, options: { userName: 'sa', password: PASSWORD } }
    const connection = new Connection({ server: '127.0.0.1', options, authentication })
    await new Promise<void>((resolve, reject) => connection.connect((error) => (error ? reject(error) : resolve())))
    await new Promise<void>((resolve, reject) => connection.reset((error) => (error ? reject(error) : resolve())))
    expect(reset).toEqual(server.sessions.map(({ id }) => id))
    connection.close()
  })

  test.each([
    ['a packet shorter than its header', Buffer.from([0x12, 1, 0, 3, 0, 0, 0, 0])],
    ['a request before login', Buffer.from([0x01, 1, 0, 8, 0, 0, 0, 0])],
    ['a login that ends early', Buffer.from([0x10, 1, 0, 12, 0, 0, 0, 0, 1, 2, 3, 4])],
  ])('%s ends that connection, and no other', async (_, bytes) => {
    const server = await serve(answering((reply) => reply.rows([{ name: 'a', type: 'int' }], [[1]])))
    const pool = await connect(server)
    const socket = net.connect(server.port, '127.0.0.1')
    socket.end(bytes)
    await once(socket.resume(), 'close')
    expect(problems.splice(0)).toHaveLength(1)
    expect((await pool.request().query('SELECT a')).recordset).toEqual([{ a: 1 }])
  })

  test('a wrong password is refused, with the number of the error', async () => {
    const server = await serve(answering(() => {}))
    await expect(connect(server, { password: 'wrong' })).rejects.toMatchObject({ code: 'ELOGIN' })
  })

  test('a client that insists on TLS does not go on in clear', async () => {
    const server = await serve(answering(() => {}))
    await expect(connect(server, { options: { encrypt: true } })).rejects.toMatchObject({ code: 'EENCRYPT' })
  })
})
