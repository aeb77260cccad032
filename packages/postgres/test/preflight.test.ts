import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { PostgresConnection } from '../src/index.ts'
import { refuseServer } from '../src/physical/preflight.ts'
import type { ServerFacts } from '../src/physical/server-facts.ts'
import { physicalSite } from './support/physical.ts'
import { whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const missing = whyNoServer(16)
const SECRET = 'the password of the role'

describe.skipIf(missing)(`checks before a physical backup${missing ? ` (${missing})` : ''}`, () => {
  let server: TestServer
  beforeAll(async () => {
    server = await TestServer.start(16, {
      tcp: true,
      settings: { max_wal_senders: 2, max_replication_slots: 1 },
      hba: [
        'local all all trust',
        'host all all 127.0.0.1/32 scram-sha-256',
        'host replication postgres,backup,plain 127.0.0.1/32 scram-sha-256',
        '',
      ].join('\n'),
    })
    for (const [role, options] of [
      ['backup', 'REPLICATION'],
      ['unlisted', 'REPLICATION'],
      ['plain', ''],
    ])
      await server.sql(`CREATE ROLE ${role} LOGIN ${options} PASSWORD '${SECRET}'`)
  })
  afterAll(() => server?.destroy())

  const attempt = async (connection: PostgresConnection, slot?: string): Promise<unknown> => {
    const site = physicalSite(server, slot === undefined ? {} : { slot }, server.connection(connection))
    const outcome = await site.backup().catch((error: unknown) => error)
    if (outcome instanceof Error) {
      expect(await site.keys()).toEqual([])
      expect(`${outcome.stack} ${JSON.stringify(outcome)} ${outcome.cause}`).not.toContain(SECRET)
    }
    return outcome
  }

  test('a role with LOGIN and REPLICATION is enough', async () => {
    expect(await attempt({ user: 'backup', password: SECRET })).toMatchObject({ kind: 'full' })
  })

  test('an unreachable server', async () => {
    expect(await attempt({ port: 1 })).toMatchObject({ code: 'SERVER_UNREACHABLE', retryable: true })
    expect(await attempt({ host: '/nowhere' })).toMatchObject({ code: 'SERVER_UNREACHABLE' })
  })

  test('a wrong password', async () => {
    expect(await attempt({ user: 'backup', password: `${SECRET}!` })).toMatchObject({ code: 'SERVER_REFUSED' })
  })

  test('a missing database', async () => {
    expect(await attempt({ database: 'nowhere' })).toMatchObject({ code: 'SOURCE_MISSING' })
  })

  test('no line for replication in pg_hba.conf', async () => {
    expect(await attempt({ user: 'unlisted', password: SECRET })).toMatchObject({
      code: 'SERVER_REFUSED',
      message: expect.stringContaining('Replication is not let in'),
      hint: expect.stringContaining('host replication unlisted <address> scram-sha-256'),
    })
  })

  test('a role that may not replicate', async () => {
    expect(await attempt({ user: 'plain', password: SECRET })).toMatchObject({
      code: 'PRIVILEGE_MISSING',
      hint: 'ALTER ROLE "plain" REPLICATION',
    })
  })

  test('no replication slot left', async () => {
    await server.sql("SELECT pg_create_physical_replication_slot('other')")
    expect(await attempt({}, 'mine')).toMatchObject({
      code: 'SERVER_BUSY',
      message: expect.stringContaining('"mine"'),
      hint: expect.stringContaining('max_replication_slots'),
    })
    // A full without a slot of its own warns and goes on.
    const warnings: string[] = []
    const site = physicalSite(server)
    await site.backup('full', { onEvent: (event) => event.type === 'warning' && warnings.push(event.message) })
    expect(warnings.join()).toContain('No temporary slot')
    await server.sql("SELECT pg_drop_replication_slot('other')")
  })

  test('a logical slot of that name', async () => {
    await server.sql("ALTER SYSTEM SET wal_level = 'logical'")
    await server.stop()
    await server.run()
    await server.sql("SELECT pg_create_logical_replication_slot('mine', 'pgoutput')")
    expect(await attempt({}, 'mine')).toMatchObject({ code: 'SERVER_SETTING', hint: expect.stringContaining('name') })
    await server.sql("SELECT pg_drop_replication_slot('mine')")
    await server.sql('ALTER SYSTEM RESET wal_level')
  })

  test('no walsender left', async () => {
    await server.sql('ALTER SYSTEM SET max_wal_senders = 0')
    await server.stop()
    await server.run()
    expect(await attempt({})).toMatchObject({
      code: 'SERVER_BUSY',
      hint: expect.stringContaining('max_wal_senders'),
    })
  })

  test('a wal_level that holds too little', async () => {
    await server.sql("ALTER SYSTEM SET wal_level = 'minimal'")
    await server.stop()
    await server.run()
    expect(await attempt({})).toMatchObject({ code: 'SERVER_SETTING', hint: expect.stringContaining('wal_level') })
    await server.sql('ALTER SYSTEM RESET ALL')
  })

  test.for([
    ['rds_superuser', 'Amazon RDS'],
    ['cloudsqlsuperuser', 'Google Cloud SQL'],
    ['azure_pg_admin', 'Azure'],
    ['neon_superuser', 'Neon'],
    ['supabase_admin', 'Supabase'],
  ] as const)('a managed service, known by its role %s', async ([role, service]) => {
    await server.sql(`CREATE ROLE ${role}`)
    expect(await attempt({})).toMatchObject({
      code: 'SERVER_UNSUPPORTED',
      message: expect.stringContaining(service),
      hint: expect.stringContaining("mode: 'logical'"),
    })
    await server.sql(`DROP ROLE ${role}`)
  })

  test('a standby', () => {
    const facts = {
      managedRoles: [],
      inRecovery: true,
      walLevel: 'replica',
      mayReplicate: true,
    } as unknown as ServerFacts
    expect(() => refuseServer(facts, { user: 'x' } as never)).toThrow('standby')
  })

  test('the disk risk of a slot without a limit', async () => {
    await server.stop()
    await server.run()
    const warnings: string[] = []
    const site = physicalSite(server, { slot: 'mine' })
    const { manifest } = await site.backup('full', {
      onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
    })
    expect(warnings.join()).toContain('max_slot_wal_keep_size has no limit')
    expect(manifest.notes.join()).toContain('max_slot_wal_keep_size has no limit')
  })
})
