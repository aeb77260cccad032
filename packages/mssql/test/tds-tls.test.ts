import { spawnSync } from 'node:child_process'
import { afterEach, describe, expect, test } from 'vitest'
import { engineBench } from './support/engine/bench.ts'
import { makeCertificate } from './support/tds/certificate.ts'
import { poolFor } from './support/tds/client.ts'
import { startTdsServer, type TdsHandler, type TdsServer } from './support/tds/server.ts'

const LARGE = 'x'.repeat(1_000_000)
const handler: TdsHandler = {
  name: 'FAKESQL',
  version: [16, 0, 4135],
  login: () => undefined,
  async request({ text }, reply) {
    if (text === 'SELECT 1;') reply.rows([{ name: '', type: 'int' }], [[1]])
    if (text === 'SELECT large') reply.rows([{ name: 'v', type: 'nvarchar(max)' }], [[LARGE]])
  },
}

const missing = spawnSync('openssl', ['version']).status === 0 ? undefined : 'there is no openssl to make a certificate'

describe.skipIf(missing)(`fake SQL Server: TLS${missing ? ` (${missing})` : ''}`, () => {
  const certificate = missing ? undefined : makeCertificate()
  let server: TdsServer | undefined
  const errors: Error[] = []

  const connect = async (options: object) => {
    server = await startTdsServer(handler, {
      ...(certificate && { tls: certificate }),
      onProtocolError: (error) => errors.push(error),
    })
    return poolFor({ port: server.port, user: 'sa', password: 'x', options }).connect()
  }

  afterEach(async () => {
    await server?.close()
    errors.length = 0
  })

  test('a trusted certificate, and answers of many records both ways', async () => {
    const pool = await connect({ encrypt: true, cryptoCredentialsDetails: { ca: certificate?.cert } })
    const { recordset } = await pool.request().input('v', 'y'.repeat(500_000)).query('SELECT large')
    expect(recordset).toEqual([{ v: LARGE }])
    await pool.close()
    expect(errors).toEqual([])
  })

  test('any certificate, for who says so', async () => {
    const pool = await connect({ encrypt: true, trustServerCertificate: true })
    expect((await pool.request().query('SELECT large')).recordset[0].v).toHaveLength(LARGE.length)
    await pool.close()
  })

  test('a certificate that nobody vouches for is not taken', async () => {
    await expect(connect({ encrypt: true, trustServerCertificate: false })).rejects.toThrow(/self[- ]signed/i)
  })

  test('nobody gets in without TLS', async () => {
    await expect(connect({ encrypt: false })).rejects.toMatchObject({ code: 'EENCRYPT' })
  })

  test('a backup and a restore', async () => {
    const bench = await engineBench(certificate && { tls: certificate })
    bench.insert(1)
    await bench.client.must(bench.backup('full', 'full'))
    await bench.client.must(bench.restore('database', 'full', { recovery: 'recovery' }))
    expect(bench.fake.rows('copy')).toEqual([1])
    await bench.close()
  })
})
