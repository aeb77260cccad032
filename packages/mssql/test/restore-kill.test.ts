import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createBackup, defineBackupPlan, directory, pruneBackups, restoreBackup } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MssqlOptions, mssql } from '../src/index.ts'
import type { Moment } from './support/engine/faults.ts'
import { type FakeSqlServer, startFakeSqlServer } from './support/engine/server.ts'
import type { RestoreOrders } from './support/restore-worker.ts'

const LIVE = 'tasks'
const OLD = [{ id: 1 }, { id: 2 }]
const RESTORED = [{ id: 1 }]

let folder: string
let shared: string
let server: FakeSqlServer
let options: MssqlOptions

const plan = () =>
  defineBackupPlan({ name: 'tasks', adapter: mssql(options), destinations: [directory(join(folder, 'backups'))] })

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mssql-kill-'))
  shared = join(folder, 'shared')
  server = await startFakeSqlServer({ directory: shared, password: 'secret' })
  server.createDatabase(LIVE)
  server.insert(LIVE, { id: 1 })
  options = {
    connection: server.config,
    database: LIVE,
    transfer: { type: 'shared-folder', serverDirectory: shared, localDirectory: shared },
  }
  await createBackup(plan())
})
afterAll(async () => {
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

/** Kills a process at a statement: when that came, when the server was at it, or when it was done but not said yet. */
async function killAt(pattern: RegExp, at: Moment, more: Partial<RestoreOrders> = {}): Promise<void> {
  server.fail(pattern, 'hang', { at })
  const worker = fork(fileURLToPath(new URL('support/restore-worker.ts', import.meta.url)))
  const orders: RestoreOrders = { mssql: options, backups: join(folder, 'backups'), ...more }
  worker.send(orders)
  const closed = once(worker, 'close')
  try {
    await Promise.race([
      expect.poll(() => server.engine.faults.pending, { interval: 10 }).toBe(0),
      closed.then(() => expect.unreachable('it ended before it was killed')),
    ])
  } finally {
    worker.kill('SIGKILL')
    await closed
  }
  await expect.poll(() => server.engine.sessions.locks).toEqual([])
}

/** As time goes by: what lies in the folder is old enough to be nobody's. */
async function prune(): Promise<void> {
  for (const name of await readdir(shared)) await utimes(join(shared, name), 0, 0)
  await pruneBackups(plan())
}

const others = (): string[] =>
  server
    .databases()
    .map(({ name }) => name)
    .filter((name) => name !== LIVE)

describe('fake SQL Server: a process that is killed', () => {
  test.each<[string, RegExp, Moment, unknown]>([
    ['in the restore of the full', /^RESTORE DATABASE .* WITH MOVE/, 'middle', OLD],
    ['when it was restored', /^RESTORE DATABASE .* WITH RECOVERY/, 'after', OLD],
    ['while it is checked', /^DBCC/, 'before', OLD],
    ['in the database that is to be replaced', /^USE \[tasks\]/, 'after', OLD],
    ['when nobody else can use it', /^ALTER DATABASE \[tasks\] SET SINGLE_USER/, 'after', OLD],
    ['when it was renamed', /^ALTER DATABASE \[tasks\] MODIFY NAME/, 'after', OLD],
    ['before the restored one is renamed', /MODIFY NAME = \[tasks\]/, 'before', OLD],
    ['when the restored one was renamed', /MODIFY NAME = \[tasks\]/, 'after', RESTORED],
    ['before all may use the kept one', /_taskflow_before_.*SET MULTI_USER/, 'before', RESTORED],
  ])('%s leaves the old or the new database, after the next prune', async (_, pattern, at, rows) => {
    if (JSON.stringify(server.rows(LIVE)) !== JSON.stringify(OLD)) server.insert(LIVE, { id: 2 })
    await killAt(pattern, at)
    await prune()
    expect(server.databases().filter(({ state, access }) => state !== 'ONLINE' || access !== 'MULTI_USER')).toEqual([])
    expect(server.rows(LIVE)).toEqual(rows)
    expect(await readdir(shared)).toEqual([])
    expect(others().filter((name) => !name.includes('_taskflow_before_'))).toEqual([])
    expect(others()).toHaveLength(rows === OLD ? 0 : 1)
    const { databases } = server.engine
    for (const name of others()) {
      expect(server.rows(name)).toEqual(OLD)
      const kept = databases.find(name)
      if (kept) databases.remove(kept)
    }
  })

  test.each<[string, RegExp, Moment, unknown, unknown]>([
    ['before the live one is touched', /^ALTER DATABASE \[tasks_taskflow_.* SET SINGLE_USER/, 'after', RESTORED, OLD],
    ['when nobody else can use the live one', /^ALTER DATABASE \[tasks\] SET SINGLE_USER/, 'after', RESTORED, OLD],
    ['when the live one was renamed', /^ALTER DATABASE \[tasks\] MODIFY NAME/, 'after', RESTORED, OLD],
    ['between the two renames', /MODIFY NAME = \[tasks\]/, 'before', RESTORED, OLD],
    ['after both', /MODIFY NAME = \[tasks\]/, 'after', OLD, RESTORED],
  ])('in an undo %s leaves both databases', async (_, pattern, at, live, kept) => {
    const { databases } = server.engine
    for (const database of databases.all) databases.remove(database)
    server.createDatabase(LIVE)
    for (const row of OLD) server.insert(LIVE, row)
    const { undo } = await restoreBackup(plan())
    await killAt(pattern, at, { undo })
    await prune()
    expect(server.databases().filter(({ access }) => access !== 'MULTI_USER')).toEqual([])
    expect(server.rows(LIVE)).toEqual(live)
    expect(others()).toHaveLength(1)
    expect(server.rows(others()[0] as string)).toEqual(kept)
  })

  test('in an undo that leaves no database leaves the restored one or none', async () => {
    const { databases } = server.engine
    for (const database of databases.all) databases.remove(database)
    const { undo } = await restoreBackup(plan())
    await killAt(/^ALTER DATABASE \[tasks\] MODIFY NAME/, 'before', { undo })
    await prune()
    expect(server.databases()).toEqual([{ name: LIVE, state: 'ONLINE', access: 'MULTI_USER' }])
    await killAt(/^ALTER DATABASE \[tasks\] MODIFY NAME/, 'after', { undo })
    await prune()
    expect(server.databases()).toMatchObject([{ state: 'ONLINE', access: 'MULTI_USER' }])
    expect(others()).toHaveLength(1)
  })
})
