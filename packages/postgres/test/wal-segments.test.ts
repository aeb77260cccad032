import { join } from 'node:path'
import { createBackup } from '@taskflow-backup/core'
import { expect, test } from 'vitest'
import { parsePosition } from '../src/position.ts'
import { physicalPlan, restoredRows } from './support/physical-plan.ts'
import { whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

const VERSION = 17
const MIB = 2 ** 20

// 1 MiB is what many other tests use, 16 MiB what most servers have.
test('a cluster with log segments of 64 MiB is restored from a log over several of them', async (context) => {
  context.skip(whyNoServer(VERSION) !== undefined, whyNoServer(VERSION))
  const server = await TestServer.start(VERSION, {
    initdb: ['-k', '--wal-segsize=64'],
    settings: { min_wal_size: '128MB', max_wal_size: '256MB' },
  })
  context.onTestFinished(() => server.destroy())
  const plan = physicalPlan(server)
  await server.sql("CREATE TABLE note AS SELECT 'full' AS name")
  const full = await createBackup(plan)
  expect(full.manifest.source.details?.walSegmentBytes).toBe(64 * MIB)
  for (const name of ['first', 'second']) {
    await server.sql('INSERT INTO note VALUES ($1)', [name])
    await server.sql(
      `CREATE TABLE filler_${name} AS SELECT i, repeat(md5(i::text), 30) AS text FROM generate_series(1, 5000) i`,
    )
    await server.sql('SELECT pg_switch_wal()')
  }
  await server.sql("INSERT INTO note VALUES ('third')")
  const [{ lsn } = { lsn: '' }] = await server.sql<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn')
  await server.sql("INSERT INTO note VALUES ('last')")
  const { manifest } = await createBackup(plan, { kind: 'log' })
  const [begin, end] = [manifest.position.begin as string, manifest.position.end].map((text) => parsePosition(text).lsn)
  expect(Number(end as bigint) / (64 * MIB) - Number(begin as bigint) / (64 * MIB)).toBeGreaterThan(1)

  const names = 'SELECT name, (SELECT sum(length(text))::int FROM filler_second) AS filler FROM note ORDER BY ctid'
  const expected = ['full', 'first', 'second', 'third', 'last'].map((name) => ({ name, filler: 5_000 * 30 * 32 }))
  const place = (name: string): string => join(server.folder, name)
  expect((await restoredRows(plan, { to: place('latest') }, names)).rows).toEqual(expected)
  const to = { dataDirectory: place('position'), recoverTo: { lsn } }
  expect((await restoredRows(plan, { to }, names)).rows).toEqual(expected.slice(0, 4))
})
