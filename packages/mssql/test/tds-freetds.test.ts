import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { headerStatement } from '../src/statements/restore.ts'
import { disk, PASSWORD as ENGINE_PASSWORD, engineBench } from './support/engine/bench.ts'
import { makeCertificate } from './support/tds/certificate.ts'
import { startTdsServer, type TdsHandler, type TdsOptions, type TdsServer } from './support/tds/server.ts'

const PASSWORD = 'Pässw0rd'
const missing = spawnSync('tsql', ['-C']).status === 0 ? undefined : "FreeTDS' tsql is not installed"

/** Answers a few texts; a client that is not tedious must understand all of it. */
const handler: TdsHandler = {
  name: 'FAKESQL',
  version: [16, 0, 4135],
  login: ({ password }) =>
    password === PASSWORD ? undefined : [{ number: 18_456, message: "Login failed for user 'sa'.", class: 14 }],
  async request({ text }, reply) {
    if (/SELECT types/.test(text))
      reply.rows(
        [
          { name: 'lsn', type: 'numeric(25,0)' },
          { name: 'big', type: 'bigint' },
          { name: 'text', type: 'nvarchar' },
          { name: 'guid', type: 'uniqueidentifier' },
          { name: 'none', type: 'int' },
        ],
        [['38000000018300165', '9007199254740993', 'häßlich', '6F9619FF-8B86-D011-B42D-00C04FC964FF', null]],
      )
    if (!/BACKUP/.test(text)) return
    reply.say({ number: 3211, message: '50 percent processed.', class: 0 })
    reply.say({ number: 3201, message: "Cannot open backup device '/no/x.bak'.", class: 16 })
    reply.say({ number: 3013, message: 'BACKUP DATABASE is terminating abnormally.', class: 16 })
  },
}

/** All that FreeTDS' `tsql` prints for one batch. */
async function runTsql(port: number, password: string, input: string): Promise<string> {
  const login = ['-H', '127.0.0.1', '-p', String(port), '-U', 'sa', '-P', password]
  const child = spawn('tsql', login, { env: { ...process.env, TDSVER: '7.4', LC_ALL: 'C.UTF-8' } })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  child.stdin.on('error', () => {})
  child.stdin.end(`${input}\nGO\nEXIT\n`)
  await once(child, 'close')
  return output
}

describe.skipIf(missing)(`fake SQL Server: with FreeTDS at TDS 7.4${missing ? ` (${missing})` : ''}`, () => {
  let server: TdsServer | undefined
  afterEach(() => server?.close())

  async function tsql(input: string, options: TdsOptions = {}, password = PASSWORD): Promise<string> {
    server = await startTdsServer(handler, options)
    return runTsql(server.port, password, input)
  }

  test('values keep every digit', async () => {
    const output = await tsql('SELECT types')
    expect(output).toContain('38000000018300165\t9007199254740993\thäßlich\t6F9619FF-8B86-D011-B42D-00C04FC964FF\tNULL')
    expect(output).toContain('(1 row affected)')
  })

  test('messages and errors, in their order', async () => {
    const output = await tsql('BACKUP DATABASE x')
    expect(output).toMatch(/50 percent processed\.[\s\S]*Msg 3201[\s\S]*Msg 3013/)
  })

  test('a refused login', async () => {
    expect(await tsql('SELECT types', {}, 'wrong')).toMatch(/18456[\s\S]*Login failed/)
  })

  test('TLS, which the server demands', async (context) => {
    if (spawnSync('openssl', ['version']).status !== 0) context.skip('there is no openssl to make a certificate')
    expect(await tsql('SELECT types', { tls: makeCertificate() })).toContain('9007199254740993')
  })

  test('a backup, its header and an error, of the engine', async () => {
    const bench = await engineBench()
    const { port } = bench.fake
    expect(await runTsql(port, ENGINE_PASSWORD, bench.backup('full', 'full'))).toMatch(
      /10 percent processed\.[\s\S]*BACKUP DATABASE successfully processed/,
    )
    const header = await runTsql(port, ENGINE_PASSWORD, headerStatement([disk('full')]))
    const { firstLsn } = bench.fake.engine.history.entries[0]?.header ?? {}
    expect(header).toContain(`\t${firstLsn}\t`)
    const failed = await runTsql(port, ENGINE_PASSWORD, bench.backup('full', 'none/x'))
    expect(failed).toMatch(/Msg 3201[\s\S]*Msg 3013/)
    await bench.close()
  })
})
