import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BackupPlan,
  createBackup,
  defineBackupPlan,
  type Finding,
  keepLast,
  listBackups,
  memory,
  pruneBackups,
  restoreBackup,
  type Storage,
  undoRestore,
} from '@taskflow-backup/core'
import { expect } from 'vitest'
import { type MssqlOptions, mssql } from '../../src/index.ts'
import { SERVER_CLOCK, type ServerClockRow } from '../../src/statements/queries/server.ts'
import { databasesOf, FIRST_TITLE, locksLeft, type ServerUnderTest, TIME_ZONE } from './server-under-test.ts'

// What is done with a server under test, whatever it runs in. The caller drops the databases.

const BALLAST_BYTES = 1_500_000

/** A name that needs quoting; everything that is made of it begins with it. */
export const newName = (): string => `It's a [task] ${randomUUID().slice(0, 8)}`

interface PlanOptions extends Partial<MssqlOptions> {
  readonly storage?: Storage
}

export function planFor(
  { config, folder }: ServerUnderTest,
  database: string,
  { storage = memory(), ...options }: PlanOptions = {},
): BackupPlan {
  const transfer = { type: 'shared-folder', ...folder } as const
  return defineBackupPlan({
    name: 'tasks',
    adapter: mssql({ connection: config, database, transfer, ...options }),
    destinations: [storage],
    retention: keepLast(1),
    strictKinds: true,
  })
}

/** A full, a differential and three logs, made while rows are inserted, come back whole and sound. */
export async function restoresAChain(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live, BALLAST_BYTES)
  const plan = planFor(server, live)
  const stop = new AbortController()
  const inserting = insertUntil(server, live, stop.signal)
  try {
    for (const kind of ['full', 'differential', 'log', 'log'] as const) {
      const before = await server.titles(live)
      await createBackup(plan, { kind })
      await expect.poll(async () => (await server.titles(live)).length).toBeGreaterThan(before.length)
    }
  } finally {
    stop.abort()
    await inserting
  }
  await createBackup(plan, { kind: 'log' })
  const rows = await server.titles(live)
  expect(rows.length).toBeGreaterThan(5)
  const { recovery, findings } = await restoreBackup(plan, { to: `${live} copy` })
  expect(recovery.backups.map(({ kind }) => kind)).toEqual(['full', 'differential', 'log', 'log', 'log'])
  expectSound(findings)
  expect(await server.titles(`${live} copy`)).toEqual(rows)
  await expectNothingLeft(server, live)
}

/** Stopped between two rows, the first is there and the second is not. */
export async function recoversToAMoment(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const plan = planFor(server, live)
  await createBackup(plan)
  await server.insert(live, 'before')
  await sleep(50)
  const [clock] = await server.client.rows<ServerClockRow>(SERVER_CLOCK)
  expect(clock?.utcOffsetMinutes).toBe(TIME_ZONE.offsetMinutes)
  const at = new Date(`${clock?.utcNow.slice(0, 23)}Z`)
  await sleep(50)
  await server.insert(live, 'after')
  await createBackup(plan, { kind: 'log' })
  const { findings } = await restoreBackup(plan, { at, to: `${live} copy` })
  expectSound(findings)
  expect(await server.titles(`${live} copy`)).toEqual([FIRST_TITLE, 'before'])
}

/** Restored over the live database, which is kept; undone, and the undoing undone. */
export async function swapsTheLiveDatabase(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const plan = planFor(server, live)
  await createBackup(plan)
  await server.insert(live, 'later')
  const { undo } = await restoreBackup(plan)
  expect(await server.titles(live)).toEqual([FIRST_TITLE])
  const redo = await undoRestore(plan, undo)
  expect(await server.titles(live)).toEqual([FIRST_TITLE, 'later'])
  await undoRestore(plan, redo)
  expect(await server.titles(live)).toEqual([FIRST_TITLE])
  await server.insert(live, 'goes on')
  await expectNothingLeft(server, live)
}

/** The other way over a live database: its tail is backed up, then it is overwritten. */
export async function replacesTheLiveDatabase(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const plan = planFor(server, live, { restore: { method: 'replace' } })
  await createBackup(plan)
  await server.insert(live, 'later')
  await restoreBackup(plan)
  expect(await server.titles(live)).toEqual([FIRST_TITLE])
  expect(await locksLeft(server)).toEqual([])
}

/** Bytes that come over the connection, in several stripes. */
export async function readsBack(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live, BALLAST_BYTES)
  const { serverDirectory } = server.folder
  const transfer = { type: 'read-back', serverDirectory, restoreThrough: server.folder } as const
  const plan = planFor(server, live, { transfer, stripes: 2 })
  const { manifest } = await createBackup(plan)
  expect(manifest.members).toHaveLength(2)
  await server.insert(live, 'later')
  await createBackup(plan, { kind: 'log' })
  expectSound((await restoreBackup(plan, { to: `${live} copy` })).findings)
  expect(await server.titles(`${live} copy`)).toEqual([FIRST_TITLE, 'later'])
  await expectNothingLeft(server, live)
}

/** Backups that stay on the server are removed there when they are pruned. */
export async function prunesOnTheServer(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const { serverDirectory, localDirectory } = server.folder
  const plan = planFor(server, live, { transfer: { type: 'on-server', serverDirectory } })
  const files = () => readdir(localDirectory)
  await createBackup(plan)
  await createBackup(plan, { kind: 'log' })
  const old = await files()
  expect(old).toHaveLength(2)
  await server.insert(live, 'later')
  await createBackup(plan)
  expect(await files()).toHaveLength(3)
  await pruneBackups(plan)
  const kept = await files()
  expect(kept).toHaveLength(1)
  expect(old).not.toContain(kept[0])
  expectSound((await restoreBackup(plan, { to: `${live} copy` })).findings)
  expect(await server.titles(`${live} copy`)).toEqual([FIRST_TITLE, 'later'])
  await pruneBackups(plan)
  expect(await files()).toEqual(kept)
}

/** A wrong password, and a login that may back up and do nothing else. */
export async function refusesWhatIsNotAllowed(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live)
  const { config, folder } = server
  const wrong = `Wrong-${randomUUID()}`
  const refused = await createBackup(planFor(server, live, { connection: { ...config, password: wrong } })).catch(
    (error: Error) => error,
  )
  expect(refused).toMatchObject({ code: 'SERVER_REFUSED' })
  expect(String(refused)).not.toContain(wrong)

  const password = `Aa1!${randomUUID()}`
  const login = `operator ${randomUUID()}`
  await server.addBackupOperator(live, login, password)
  const connection = { ...config, user: login, password }
  const plan = planFor(server, live, { connection })
  await createBackup(plan)
  // Found by asking, before anything is tried.
  const lacking = (right: string) => ({ code: 'PRIVILEGE_MISSING', details: { missing: [right] } })
  await expect(restoreBackup(plan, { to: `${live} copy` })).rejects.toMatchObject(lacking('CREATE ANY DATABASE'))
  const { serverDirectory } = folder
  await expect(
    createBackup(planFor(server, live, { connection, transfer: { type: 'read-back', serverDirectory } })),
  ).rejects.toMatchObject(lacking('ADMINISTER BULK OPERATIONS'))
  expect(await databasesOf(server, live)).toHaveLength(1)
  await expectNothingLeft(server, live)
}

/** A backup that is aborted on its way leaves nothing, and the next one is made. */
export async function abortsWithoutATrace(server: ServerUnderTest, live: string): Promise<void> {
  await server.createDatabase(live, server.slowBackupBytes)
  const plan = planFor(server, live)
  const aborter = new AbortController()
  const onEvent = ({ type }: { readonly type: string }): void => {
    if (type === 'progress') aborter.abort()
  }
  await expect(createBackup(plan, { signal: aborter.signal, onEvent })).rejects.toMatchObject({ code: 'ABORTED' })
  expect((await listBackups(plan)).backups).toEqual([])
  await expectNothingLeft(server, live)
  await createBackup(plan)
}

/** A second server, and nothing of the first but the storage. */
export async function restoresElsewhere(
  server: ServerUnderTest,
  live: string,
  start: () => Promise<ServerUnderTest>,
): Promise<void> {
  await server.createDatabase(live, BALLAST_BYTES)
  const storage = memory()
  const plan = planFor(server, live, { storage })
  await createBackup(plan)
  await server.insert(live, 'later')
  await createBackup(plan, { kind: 'log' })
  const other = await start()
  try {
    const { findings } = await restoreBackup(planFor(other, live, { storage }))
    expectSound(findings)
    expect(await other.titles(live)).toEqual([FIRST_TITLE, 'later'])
    await expectNothingLeft(other, live)
  } finally {
    await other.destroy()
  }
}

export function expectSound(findings: readonly Finding[]): void {
  expect(findings.filter(({ severity }) => severity !== 'ok')).toEqual([])
  expect(findings.map(({ check }) => check)).toContain('dbcc-checkdb')
}

export async function expectNothingLeft(server: ServerUnderTest, live: string): Promise<void> {
  expect(await readdir(server.folder.localDirectory)).toEqual([])
  expect(await locksLeft(server)).toEqual([])
  const databases = await databasesOf(server, live)
  expect(databases.filter(({ name }) => name.includes('_taskflow_restore_'))).toEqual([])
  expect(databases.filter(({ state, userAccess }) => state !== 'ONLINE' || userAccess !== 'MULTI_USER')).toEqual([])
}

/** One row in each transaction. */
async function insertUntil(server: ServerUnderTest, database: string, signal: AbortSignal): Promise<void> {
  for (let row = 1; !signal.aborted; row++) {
    await server.insert(database, `row ${row}`)
    await sleep(10) // leaves something of a small machine to the backups
  }
}
