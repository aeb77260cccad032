import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRestorePoint, slotHealth } from '../src/index.ts'
import { physicalSite, plainMembers } from './support/physical.ts'
import { whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const missing = whyNoServer(15)
describe.skipIf(missing)(`restore points and slots${missing ? ` (${missing})` : ''}`, () => {
  let server: TestServer
  beforeAll(async () => {
    server = await TestServer.start(15, { settings: { max_slot_wal_keep_size: '64MB' } })
  })
  afterAll(() => server?.destroy())

  test('a restore point is a record in the next log backup', async () => {
    const site = physicalSite(server, { slot: 'points' })
    await site.backup()
    const point = await createRestorePoint(server.connection(), "before migration 42 'ä'")
    expect(point.name).toBe("before migration 42 'ä'")
    expect(point.lsn).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/)
    expect(Math.abs(point.createdAt.getTime() - Date.now())).toBeLessThan(60_000)
    await server.sql('CREATE TABLE later (id int)')
    const [bytes] = [...(await plainMembers(site, (await site.backup('log')).id)).values()] as [Buffer]
    expect(bytes.includes(Buffer.from("before migration 42 'ä'\0"))).toBe(true)
  })

  test.for(['', 'x'.repeat(64), 'ä'.repeat(32), 'a\0b'])('a bad name is refused: %j', async (name) => {
    await expect(createRestorePoint(server.connection(), name)).rejects.toMatchObject({ code: 'OPTIONS_INVALID' })
  })

  test('a role without the right to it is told so', async () => {
    await server.sql("CREATE ROLE someone LOGIN PASSWORD 'x'")
    const connection = server.connection({ user: 'someone', password: 'x' })
    await expect(createRestorePoint(connection, 'x')).rejects.toMatchObject({ code: 'PRIVILEGE_MISSING' })
  })

  test('the health of a slot', async () => {
    expect(await slotHealth(server.connection(), 'nowhere')).toEqual({
      slot: 'nowhere',
      usable: false,
      reason: 'The server has no replication slot "nowhere".',
      active: false,
      retainedBytes: 0,
    })
    const before = await slotHealth(server.connection(), 'points')
    expect(before).toMatchObject({ slot: 'points', usable: true, active: false, walStatus: 'reserved' })
    await server.sql('SELECT pg_switch_wal()')
    await server.sql('CREATE TABLE fill AS SELECT md5(g::text) FROM generate_series(1, 1000) g')
    const after = await slotHealth(server.connection(), 'points')
    expect(after.retainedBytes).toBeGreaterThan(before.retainedBytes)
    expect(after.safeWalBytes).toBeLessThan(before.safeWalBytes as number)
  })
})
