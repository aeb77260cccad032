import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BackupError, createBackup, memory, restoreBackup } from '@taskflow-backup/core'
import { describe, expect, test } from 'vitest'
import { resolveConnection } from '../src/connection.ts'
import { programEnvironment } from '../src/logical/program-environment.ts'
import { inSession } from '../src/logical/session.ts'
import { countObjects, countRows, readRoles, readShape } from '../src/logical/source.ts'
import { Databases, whyNoLogical } from './support/databases.ts'
import { clientPrograms, RUN_AS, VERSIONS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const failure = (work: Promise<unknown>): Promise<BackupError> =>
  work.then(
    () => expect.unreachable('it succeeded'),
    (error: BackupError) => error,
  )

const why = whyNoLogical()

describe.skipIf(why !== undefined)(`servers of other sorts${why === undefined ? '' : `: ${why}`}`, () => {
  const newer = VERSIONS.filter((version) => version > (clientPrograms()?.version ?? 99))

  test.for(newer)(
    'of version %i, newer than the programs: said so before anything is done',
    async (version, context) => {
      const missing = whyNoServer(version)
      context.skip(missing !== undefined, String(missing))
      const server = await TestServer.start(version, { settings: { fsync: 'off' } })
      context.onTestFinished(() => server.destroy())
      const databases = await Databases.make(server)
      context.onTestFinished(() => databases.destroy())
      const plan = databases.plan({ destinations: [memory()] })
      const error = await failure(createBackup(plan))
      expect(error).toMatchObject({
        code: 'PROGRAM_MISSING',
        message: expect.stringContaining(`The server is PostgreSQL ${version}`),
        hint: expect.stringContaining(`postgresql-client-${version}`),
      })
      // What was asked of the server works on it, whatever its catalogues look like.
      await databases.sql('CREATE TABLE task AS SELECT generate_series(1, 3) AS id')
      const settings = await resolveConnection(server.connection({ database: databases.live }))
      const facts = await inSession(settings, new AbortController().signal, async (session) => ({
        shape: await readShape(session),
        roles: await readRoles(session),
        objects: await countObjects(session),
        rows: await countRows(session),
      }))
      expect(facts).toEqual({
        shape: { owner: 'postgres', encoding: 'UTF8', collate: 'C', ctype: 'C', localeProvider: 'libc' },
        roles: { owners: ['postgres'], grantees: [] },
        objects: { tables: 1 },
        rows: [['public', 'task', 3]],
      })
    },
  )

  test('that take TLS only: the programs check the certificate as we do', async (context) => {
    context.skip(spawnSync('openssl', ['version']).status !== 0, 'openssl is not installed')
    context.skip(process.platform !== 'linux', 'other systems have one loopback address only')
    const hba = 'local all all scram-sha-256\nhostssl all all all scram-sha-256\n'
    // The tests' own connections go through the socket; TLS has an address to itself, so that its port is free.
    const host = `127.${[...randomBytes(3)].map((byte) => 1 + (byte % 250)).join('.')}`
    const server = await TestServer.start(15, { hba, settings: { fsync: 'off', listen_addresses: host } })
    context.onTestFinished(() => server.destroy())
    const key = join(server.dataDirectory, 'server.key')
    const cert = join(server.dataDirectory, 'server.crt')
    const made = spawnSync('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=db.example.org'],
      ...['-addext', 'subjectAltName=DNS:db.example.org', '-keyout', key, '-out', cert],
    ])
    expect(made.status).toBe(0)
    if (RUN_AS) for (const file of [key, cert]) await fs.chown(file, RUN_AS.uid, RUN_AS.gid)
    await fs.chmod(key, 0o600)
    await server.sql('ALTER SYSTEM SET ssl = on')
    await server.stop()
    await server.run()
    const databases = await Databases.make(server, { sql: 'CREATE TABLE task AS SELECT 1 AS id' })
    context.onTestFinished(() => databases.destroy())
    const ca = await fs.readFile(cert, 'utf8')
    const connection = server.connection({ database: databases.live, host })
    const planWith = (tls: object | boolean) =>
      databases.plan({ destinations: [memory()], postgres: { connection: { ...connection, tls } } })

    const good = planWith({ ca, servername: 'db.example.org' })
    await createBackup(good)
    await restoreBackup(good, { to: `${databases.prefix}_copy` })
    expect(await databases.rows('SELECT id FROM task', `${databases.prefix}_copy`)).toEqual([[1]])
    await createBackup(planWith({ rejectUnauthorized: false }))
    for (const tls of [true, { ca }, { servername: 'db.example.org' }, false])
      expect((await failure(createBackup(planWith(tls)))).code).toMatch(/^SERVER_/)
    expect(await fs.readdir(databases.temporary)).toEqual([])
  })

  test('TLS settings reach the programs as libpq wants them', async (context) => {
    const folder = await fs.mkdtemp(join(tmpdir(), 'taskflow-tls-'))
    context.onTestFinished(() => fs.rm(folder, { recursive: true }))
    const settings = {
      host: '127.0.0.1',
      port: 5432,
      database: 'a',
      user: 'b',
      password: 'c',
      tls: { ca: 'CA', cert: 'CERT', key: 'KEY', servername: 'localhost' },
      connectTimeoutMs: 10_000,
    }
    const env = await programEnvironment(settings, 'me', async () => folder)
    expect(env).toMatchObject({
      PGSSLMODE: 'verify-full',
      PGHOST: 'localhost',
      PGHOSTADDR: '127.0.0.1',
      PGPASSWORD: 'c',
    })
    for (const [name, text] of [
      ['PGSSLROOTCERT', 'CA'],
      ['PGSSLCERT', 'CERT'],
      ['PGSSLKEY', 'KEY'],
    ] as const) {
      expect(await fs.readFile(env[name] as string, 'utf8')).toBe(text)
      expect((await fs.stat(env[name] as string)).mode & 0o777).toBe(0o600)
    }
    const plain = await programEnvironment({ ...settings, tls: false }, 'me', () => expect.unreachable())
    expect(plain).toMatchObject({ PGSSLMODE: 'disable', PGHOST: '127.0.0.1' })
  })
})
