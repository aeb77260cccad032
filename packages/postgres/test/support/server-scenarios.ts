import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BackupPlan, createBackup, defineBackupPlan, directory, restoreBackup } from '@taskflow-backup/core'
import { expect } from 'vitest'
import { type PostgresConnection, postgres } from '../../src/index.ts'
import { BACKUP_ROLE, clientOf, query, type ServerUnderTest } from './server-under-test.ts'
import { FINGERPRINT, taskflowSchema } from './taskflow.ts'

// What is done with a server under test, whatever it runs in. `folder` is an empty one of the test's own.

const TRUTH = `
  SELECT id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint::text AS us FROM entry ORDER BY id`

/** A dump of a database comes back as a new one, the same down to rows and privileges. */
export async function restoresADump(server: ServerUnderTest, folder: string, clientPrograms: string): Promise<void> {
  await query(server.connection(), 'CREATE DATABASE "task flow"')
  const connection = server.connection({ database: 'task flow' })
  await query(connection, taskflowSchema('app'))
  const plan = defineBackupPlan({
    name: 'tasks',
    adapter: postgres({ connection, clientPrograms }),
    destinations: [directory(join(folder, 'backups'))],
  })
  await createBackup(plan)
  const result = await restoreBackup(plan, { to: 'a copy of it' })
  expect(result.findings.filter(({ severity }) => severity !== 'ok')).toEqual([])
  const before = await query(connection, FINGERPRINT)
  expect(before.length).toBeGreaterThan(50)
  expect(await query(server.connection({ database: 'a copy of it' }), FINGERPRINT)).toEqual(before)
}

/** Killed while rows are inserted and the log is backed up, it comes back as it was at a moment. */
export async function recoversToAMoment(server: ServerUnderTest, folder: string): Promise<void> {
  const planAs = (role: PostgresConnection): BackupPlan =>
    defineBackupPlan({
      name: 'cluster',
      adapter: postgres({ connection: server.connection(role), mode: 'physical', physical: { slot: 'backup' } }),
      destinations: [directory(join(folder, 'backups'))],
      strictKinds: true,
    })
  await expect(createBackup(planAs({ ...BACKUP_ROLE, password: 'wrong' }))).rejects.toMatchObject({
    code: 'SERVER_REFUSED',
  })
  // May replicate, but has no line for it.
  await expect(createBackup(planAs({}))).rejects.toMatchObject({
    code: 'SERVER_REFUSED',
    hint: expect.stringContaining('pg_hba.conf'),
  })

  await query(server.connection(), 'CREATE TABLE entry (id serial PRIMARY KEY)')
  const inserted = insertUntilKilled(server.connection())
  const plan = planAs(BACKUP_ROLE)
  await createBackup(plan)
  if (server.version >= 17) await createBackup(plan, { kind: 'differential' })
  const reached: number[] = []
  for (let log = 0; log < 3; log++) {
    await untilRowsCame(server.connection(), 30)
    await sleep(500) // a log is believed up to a moment before it was made
    const { manifest } = await createBackup(plan, { kind: 'log' })
    reached.push(Date.parse(manifest.consistentAt))
  }
  await untilRowsCame(server.connection(), 1)
  const truth = await query<{ id: number; us: string }>(server.connection(), TRUTH)
  await server.kill()
  expect((await inserted).length).toBeGreaterThanOrEqual(truth.length)

  const [first = 0, , last = 0] = reached
  const at = new Date(first + Math.floor(Math.random() * (last - first)))
  const expected = truth.filter(({ us }) => Number(us) <= at.getTime() * 1000).map(({ id }) => id)
  expect(expected.length).toBeGreaterThan(10)
  expect(expected.length).toBeLessThan(truth.length)
  const dataDirectory = join(folder, 'restored')
  const { recovery, findings } = await restoreBackup(plan, { at, to: { dataDirectory, recover: false } })
  expect(recovery.backups.map(({ kind }) => kind)).toEqual(
    expect.arrayContaining(server.version >= 17 ? ['full', 'differential', 'log'] : ['full', 'log']),
  )
  expect(findings.map(({ check }) => check)).toContain('start-by-hand')

  await server.startOn(dataDirectory)
  const inRecovery = async () => (await query(server.connection(), 'SELECT pg_is_in_recovery() AS is'))[0]?.is
  await expect.poll(inRecovery).toBe(false)
  const restored = await query<{ id: number }>(server.connection(), 'SELECT id FROM entry ORDER BY id')
  expect(restored.map(({ id }) => id)).toEqual(expected)
  await query(server.connection(), 'INSERT INTO entry DEFAULT VALUES')
}

/** Waits until so many more rows are there, however busy the machine is. */
async function untilRowsCame(connection: PostgresConnection, more: number): Promise<void> {
  const text = 'SELECT count(*)::int AS rows FROM entry'
  const count = async () => (await query<{ rows: number }>(connection, text))[0]?.rows ?? 0
  const before = await count()
  await expect.poll(count).toBeGreaterThanOrEqual(before + more)
}

/** One row in each transaction, from one session: the order of commits is that of the rows. */
async function insertUntilKilled(connection: PostgresConnection): Promise<number[]> {
  const client = clientOf(connection)
  await client.connect()
  const ids: number[] = []
  try {
    for (;;) {
      ids.push((await client.query('INSERT INTO entry DEFAULT VALUES RETURNING id')).rows[0].id)
      await sleep(2) // leaves something of a small machine to the backups
    }
  } catch {
    return ids // also when it ends too early: then there are fewer than the server has, or none after the moment
  } finally {
    await client.end().catch(() => {})
  }
}
