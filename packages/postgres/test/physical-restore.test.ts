import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import {
  type BackupPlan,
  createBackup,
  type JsonValue,
  type Manifest,
  planRecovery,
  restoreBackup,
  undoRestore,
} from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { PhysicalTarget } from '../src/index.ts'
import { readControlFile } from '../src/server/control-file.ts'
import { runningPostmaster } from '../src/server/postmaster.ts'
import { physicalPlan, restoredRows } from './support/physical-plan.ts'
import { RUN_AS, VERSIONS, type Version, whyNoServer } from './support/programs.ts'
import { queryDataDirectory } from './support/restored.ts'
import { TestServer } from './support/server.ts'

const NAMES = 'SELECT name FROM note ORDER BY id'
const version = VERSIONS.findLast((one) => whyNoServer(one) === undefined) as Version
if (version === undefined) console.warn(`Physical restores are not tried: ${whyNoServer(18)}`)

/** Everything that these tests restore: one chain, with places in its log that have names. */
interface Chain {
  readonly plan: BackupPlan
  readonly manifests: readonly Manifest[]
  readonly lsn: string
  readonly transaction: string
  readonly oid: string
}

describe.skipIf(version === undefined)(`restoring a physical backup of PostgreSQL ${version}`, () => {
  let server: TestServer
  let chain: Chain

  beforeAll(async () => {
    server = await TestServer.start(version, {
      lean: true,
      settings: { fsync: 'off', ...(version >= 17 && { summarize_wal: 'on' }) },
    })
    const space = join(server.folder, 'a space')
    await fs.mkdir(space)
    if (RUN_AS) await fs.chown(space, RUN_AS.uid, RUN_AS.gid)
    await server.sql(`CREATE TABLESPACE "big disk" LOCATION '${space}'`)
    await server.sql('CREATE TABLE note (id serial PRIMARY KEY, name text) TABLESPACE "big disk"')
    const [row] = await server.sql<{ oid: string }>("SELECT oid::text FROM pg_tablespace WHERE spcname = 'big disk'")
    await server.sql("INSERT INTO note (name) VALUES ('full')")
    const plan = physicalPlan(server, { dataDirectory: server.dataDirectory })
    const manifests = [(await createBackup(plan)).manifest]
    await server.sql("INSERT INTO note (name) SELECT 'differential'")
    if (version >= 17) manifests.push((await createBackup(plan, { kind: 'differential' })).manifest)
    await server.sql("INSERT INTO note (name) VALUES ('restore point')")
    await server.sql("SELECT pg_create_restore_point('it''s \"before\" all')")
    await server.sql("INSERT INTO note (name) VALUES ('lsn')")
    const [{ lsn } = { lsn: '' }] = await server.sql<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn')
    const [{ xid } = { xid: '' }] = await server.sql<{ xid: string }>(
      "INSERT INTO note (name) VALUES ('transaction') RETURNING pg_current_xact_id()::text AS xid",
    )
    await server.sql("INSERT INTO note (name) VALUES ('last')")
    manifests.push((await createBackup(plan, { kind: 'log' })).manifest)
    chain = { plan, manifests, lsn, transaction: xid, oid: row?.oid as string }
  })
  afterAll(() => server?.destroy())

  const place = (name: string): string => join(server.folder, name)
  const FIRST = ['full', 'differential', 'restore point']

  test.each([
    ['a named restore point', () => ({ restorePoint: 'it\'s "before" all' }), FIRST],
    ['a position in the log', () => ({ lsn: chain.lsn }), [...FIRST, 'lsn']],
    ['a transaction', () => ({ transaction: chain.transaction }), [...FIRST, 'lsn', 'transaction']],
  ])('stops at %s', async (name, recoverTo, expected) => {
    const to = { dataDirectory: place(name.replaceAll(' ', '-')), recoverTo: recoverTo() }
    const { rows, result } = await restoredRows(chain.plan, { to }, NAMES)
    expect(rows.map((row) => row.name)).toEqual(expected)
    expect(result.findings.map(({ severity }) => severity)).toEqual(result.findings.map(() => 'ok'))
    // Nothing of how it was recovered is left in it.
    const left = await fs.readdir(to.dataDirectory)
    expect(left.filter((file) => /signal|\.old$|postmaster|backup_manifest/.test(file))).toEqual([])
    expect(await fs.readFile(join(to.dataDirectory, 'postgresql.auto.conf'), 'utf8')).not.toContain('recovery')
    expect(await readControlFile(to.dataDirectory)).toMatchObject({ shutDown: true })
    expect((await fs.stat(to.dataDirectory)).mode & 0o7777).toBe(0o700)
  })

  test('a restore point that the log does not hold is an error, and leaves nothing', async () => {
    const to = { dataDirectory: place('nowhere'), recoverTo: { restorePoint: 'never made' } }
    await expect(restoreBackup(chain.plan, { to })).rejects.toMatchObject({ code: 'POINT_UNREACHABLE' })
    expect((await fs.readdir(server.folder)).filter((name) => name.includes('nowhere'))).toEqual([])
  })

  test('tablespaces go beside the data directory, or where they are told to', async () => {
    const beside = place('beside')
    await restoreBackup(chain.plan, { to: beside })
    const link = await fs.readlink(join(beside, 'pg_tblspc', chain.oid))
    expect(link).toMatch(new RegExp(`^${beside}\\.tablespaces-[a-z0-9]{8}/${chain.oid}$`))
    const mapped = place('another disk')
    await fs.mkdir(mapped)
    const to = { dataDirectory: place('mapped'), tablespaces: { [chain.oid]: mapped } }
    await restoreBackup(chain.plan, { to })
    expect(await fs.readlink(join(to.dataDirectory, 'pg_tblspc', chain.oid))).toBe(mapped)
    for (const directory of [beside, to.dataDirectory]) {
      const rows = await queryDataDirectory(directory, server.programs, NAMES)
      expect(rows.at(-1)).toEqual({ name: 'last' })
    }
    // Neither touched the live one.
    expect((await server.sql(NAMES)).at(-1)).toEqual({ name: 'last' })
  })

  test('without recovery it is laid ready for whoever starts it', async () => {
    const to: PhysicalTarget = {
      dataDirectory: place('by-hand'),
      recover: false,
      recoverTo: { restorePoint: 'it\'s "before" all' },
    }
    const { findings } = await restoreBackup(chain.plan, { to })
    expect(findings).toMatchObject([{ check: 'start-by-hand', severity: 'warning' }])
    expect(findings[0]?.message).toContain(`postgres -D '${to.dataDirectory}'`)
    expect(await fs.readdir(to.dataDirectory)).toEqual(expect.arrayContaining(['backup_label', 'recovery.signal']))
    const rows = await queryDataDirectory(to.dataDirectory, server.programs, NAMES)
    expect(rows.map(({ name }) => name)).toEqual(FIRST)
  })

  test('the live cluster is replaced only when its server has stopped, or may be stopped', async () => {
    await expect(restoreBackup(chain.plan, { id: chain.manifests[0]?.id as string })).rejects.toMatchObject({
      code: 'DATABASE_IN_USE',
    })
    expect(await runningPostmaster(server.dataDirectory)).toBe(server.pid)
    const undo = await restoreBackup(chain.plan, { id: chain.manifests[0]?.id as string, evenIfInUse: true })
    expect(await runningPostmaster(server.dataDirectory)).toBeUndefined()
    await server.run()
    expect(await server.sql(NAMES)).toEqual([{ name: 'full' }])
    await expect(undoRestore(chain.plan, undo.undo)).rejects.toMatchObject({ code: 'DATABASE_IN_USE' })
    await server.stop()
    await undoRestore(chain.plan, undo.undo)
    await server.run()
    expect((await server.sql(NAMES)).at(-1)).toEqual({ name: 'last' })
  })

  test('restored twice, the live cluster has two timelines, so that their logs can be told apart', async () => {
    const timelines: unknown[] = []
    for (let round = 0; round < 2; round++) {
      await restoreBackup(chain.plan, { id: chain.manifests[0]?.id as string, evenIfInUse: true })
      await server.run()
      const [row] = await server.sql('SELECT timeline_id FROM pg_control_checkpoint()')
      timelines.push(row?.timeline_id)
    }
    expect(timelines).toEqual([2, 3])
    // Nothing is left of how that was done.
    const names = await fs.readdir(join(server.dataDirectory, 'pg_wal'))
    expect(names.filter((name) => name.endsWith('.history'))).toEqual(['00000003.history'])
  })

  test.each<[string, () => JsonValue, string]>([
    ['a number', () => 5, 'TARGET_INVALID'],
    ['an empty path', () => '', 'TARGET_INVALID'],
    ['a line break in the path', () => ({ dataDirectory: `${place('a')}\nport=1` }), 'TARGET_INVALID'],
    ['something unknown', () => ({ dataDirectory: place('a'), recoveTo: { lsn: '0/1' } }), 'TARGET_INVALID'],
    [
      'two places in the log',
      () => ({ dataDirectory: place('a'), recoverTo: { lsn: '0/1', transaction: '1' } }),
      'TARGET_INVALID',
    ],
    ['a bad position', () => ({ dataDirectory: place('a'), recoverTo: { lsn: "0/1' -c x" } }), 'TARGET_INVALID'],
    ['a bad timeline', () => ({ dataDirectory: place('a'), timeline: 0 }), 'TARGET_INVALID'],
    [
      'a tablespace that is not there',
      () => ({ dataDirectory: place('a'), tablespaces: { 4711: place('b') } }),
      'TARGET_INVALID',
    ],
    [
      'a relative path of a tablespace',
      () => ({ dataDirectory: place('a'), tablespaces: { [chain.oid]: 'b' } }),
      'TARGET_INVALID',
    ],
    ['a folder that is not there', () => join(place('missing'), 'data'), 'TARGET_INVALID'],
    ['a file', () => place('log'), 'TARGET_INVALID'],
    ['a folder that is not empty', () => server.folder, 'TARGET_EXISTS'],
  ])('refuses %s before anything is touched', async (_, to, code) => {
    const before = await fs.readdir(server.folder)
    await expect(restoreBackup(chain.plan, { to: to() })).rejects.toMatchObject({ code })
    expect(await fs.readdir(server.folder)).toEqual(before)
  })

  test('refuses `recoverTo` together with `at`, and the live one without its data directory', async () => {
    const at = new Date(chain.manifests.at(-1)?.consistentAt as string)
    const to = { dataDirectory: place('a'), recoverTo: { lsn: '0/1' } }
    expect((await planRecovery(chain.plan, { at })).stopAt).toEqual(at)
    await expect(restoreBackup(chain.plan, { at, to })).rejects.toMatchObject({ code: 'TARGET_INVALID' })
    const { destinations } = chain.plan
    const plan = physicalPlan(server, {}, { destinations: destinations.map(({ storage }) => storage) })
    await expect(restoreBackup(plan)).rejects.toMatchObject({ code: 'TARGET_INVALID' })
  })

  test('says what to install where there is no server program of that version', async () => {
    const { destinations } = chain.plan
    const plan = physicalPlan(
      server,
      { serverPrograms: server.folder },
      { destinations: destinations.map(({ storage }) => storage) },
    )
    const failure = restoreBackup(plan, { to: place('a') })
    await expect(failure).rejects.toMatchObject({ code: 'PROGRAM_MISSING', hint: expect.stringContaining('Install') })
    await restoreBackup(plan, { to: { dataDirectory: place('without-programs'), recover: false } })
  })
})

test.each(VERSIONS.filter((one) => whyNoServer(one) === undefined))(
  'what PostgreSQL %s writes into pg_control is read right',
  async (one) => {
    const server = await TestServer.start(one, {
      lean: true,
      settings: {
        max_connections: 37,
        max_prepared_transactions: 5,
        track_commit_timestamp: 'on',
        wal_level: 'logical',
      },
    })
    try {
      const [row] = await server.sql('SELECT system_identifier::text AS id FROM pg_control_system()')
      const running = await readControlFile(server.dataDirectory)
      expect(running).toEqual({
        systemIdentifier: row?.id,
        shutDown: false,
        timeline: 1,
        settings: {
          wal_level: 'logical',
          max_connections: '37',
          max_worker_processes: '8',
          max_wal_senders: '10',
          max_prepared_transactions: '5',
          max_locks_per_transaction: '64',
          track_commit_timestamp: 'on',
        },
      })
      await server.stop()
      expect((await readControlFile(server.dataDirectory)).shutDown).toBe(true)
    } finally {
      await server.destroy()
    }
  },
)
