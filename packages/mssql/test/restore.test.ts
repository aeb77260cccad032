import {
  type BackupError,
  createBackup,
  defineBackupPlan,
  memory,
  restoreBackup,
  undoRestore,
  verifyBackup,
} from '@taskflow-backup/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { mssql } from '../src/index.ts'
import { LIVE, type RestoreSite, restoreSite, SERVER_DIRECTORY } from './support/restore-site.ts'

const failure = (work: Promise<unknown>): Promise<BackupError> =>
  work.then(
    () => expect.unreachable('it succeeded'),
    (error: BackupError) => error,
  )
const titles = (site: RestoreSite, database = LIVE): unknown[] =>
  site.server.rows(database).map((row) => (row as { title: string }).title)

let site: RestoreSite
beforeEach(async () => {
  site = await restoreSite()
  site.insert('one')
  await site.backup('full')
  site.insert('two')
})
afterEach(() => site.destroy())

const keptNames = (): string[] =>
  site.server
    .databases()
    .map(({ name }) => name)
    .filter((name) => name.includes('_taskflow_before_'))

describe('fake SQL Server: the target of a restore', () => {
  test('a database in use is refused, with the names of who uses it, and stays as it is', async () => {
    const guest = site.server.engine.sessions.occupy(LIVE)
    const error = await failure(restoreBackup(site.plan()))
    expect(error).toMatchObject({ code: 'DATABASE_IN_USE', retryable: true })
    expect(error.message).toContain('guest, somebody')
    expect(guest.killed).toBe(false)
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
  })

  test('a database in use is refused also when the login may not see who uses it', async () => {
    site.server.addLogin('small', { password: 'x', roles: ['dbcreator'] })
    const connection = { ...site.server.config, user: 'small', password: 'x' }
    const guest = site.server.engine.sessions.occupy(LIVE)
    expect(await failure(restoreBackup(site.plan({ connection })))).toMatchObject({ code: 'DATABASE_IN_USE' })
    expect(guest.killed).toBe(false)
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
    guest.leave()
    await restoreBackup(site.plan({ connection }))
    expect(titles(site)).toEqual(['one'])
  })

  test('evenIfInUse sends them away', async () => {
    const guest = site.server.engine.sessions.occupy(LIVE)
    await restoreBackup(site.plan(), { evenIfInUse: true })
    expect(guest.killed).toBe(true)
    expect(titles(site)).toEqual(['one'])
    expect(titles(site, keptNames()[0])).toEqual(['one', 'two'])
  })

  test('undo refuses a database in use, and one that is kept', async () => {
    const { undo } = await restoreBackup(site.plan())
    for (const name of [LIVE, undo.kept as string]) {
      const guest = site.server.engine.sessions.occupy(name)
      expect(await failure(undoRestore(site.plan(), undo))).toMatchObject({ code: 'DATABASE_IN_USE' })
      guest.leave()
    }
    expect(site.databases().every((text) => text.endsWith('ONLINE, MULTI_USER'))).toBe(true)
    await undoRestore(site.plan(), undo)
    expect(titles(site)).toEqual(['one', 'two'])
  })

  test.each([
    ['nothing', ''],
    ['a name that is too long', 'n'.repeat(129)],
    ['a number', 7],
    ['a database of the server itself', 'MSDB'],
    ['a name with a blank at its end', 'tasks '],
  ])('%s is refused before anything is made', async (_, to) => {
    const before = site.server.statements().length
    expect(await failure(restoreBackup(site.plan(), { to }))).toMatchObject({ code: 'TARGET_INVALID' })
    expect(
      site.server
        .statements()
        .slice(before)
        .filter((text) => /RESTORE|ALTER/.test(text)),
    ).toEqual([])
  })

  test('a name of 128 characters can be replaced, and replaced again', async () => {
    const to = `${'n'.repeat(127)}ü`
    await restoreBackup(site.plan(), { to })
    site.insert('there', to)
    await restoreBackup(site.plan(), { to, overwrite: true })
    const { undo } = await restoreBackup(site.plan(), { to, overwrite: true })
    expect(keptNames()).toHaveLength(2)
    expect(keptNames().every((name) => name.length <= 128)).toBe(true)
    await undoRestore(site.plan(), undo)
    expect(titles(site, to)).toEqual(['one'])
  })

  test('a live database that is gone comes back, and undo takes it away', async () => {
    const { databases } = site.server.engine
    for (const database of databases.all) databases.remove(database)
    const { undo } = await restoreBackup(site.plan())
    expect(undo.kept).toBeUndefined()
    expect(titles(site)).toEqual(['one'])
    const redo = await undoRestore(site.plan(), undo)
    expect(databases.find(LIVE)).toBeUndefined()
    await undoRestore(site.plan(), redo)
    expect(titles(site)).toEqual(['one'])
  })

  test('a live database that the server cannot rename is told at once', async () => {
    for (const state of ['RESTORING', 'OFFLINE'] as const) {
      for (const database of site.server.engine.databases.all) database.state = state
      const error = await failure(restoreBackup(site.plan()))
      expect(error).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining(state) })
      expect(site.databases()).toEqual([`${LIVE}: ${state}, MULTI_USER`])
    }
  })

  test('whoever was let in before is let in afterwards', async () => {
    for (const database of site.server.engine.databases.all) database.access = 'RESTRICTED_USER'
    const plan = site.plan()
    site.server.fail(/MODIFY NAME = \[Task\]\]Flow's\]$/, [{ number: 50_000, message: 'no', class: 16 }])
    await failure(restoreBackup(plan))
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, RESTRICTED_USER`])
    await restoreBackup(plan)
    expect(site.databases().sort()).toEqual(
      [`${keptNames()[0]}: ONLINE, RESTRICTED_USER`, `${LIVE}: ONLINE, MULTI_USER`].sort(),
    )
  })

  test('a login that may not make databases is told what it lacks', async () => {
    site.server.addLogin('reader', { password: 'x' })
    const connection = { ...site.server.config, user: 'reader', password: 'x' }
    const error = await failure(restoreBackup(site.plan({ connection })))
    expect(error).toMatchObject({ code: 'PRIVILEGE_MISSING', hint: expect.stringContaining('dbcreator') })
  })
})

describe('fake SQL Server: how the backups get there', () => {
  let storage = memory()
  beforeEach(() => {
    storage = memory()
  })
  const planOf = (where: RestoreSite, options: object) =>
    defineBackupPlan({
      name: 'tasks',
      adapter: mssql({
        connection: where.server.config,
        database: LIVE,
        transfer: { type: 'shared-folder', serverDirectory: SERVER_DIRECTORY, localDirectory: where.folder },
        ...options,
      }),
      destinations: [storage],
    })

  test('another server is restored to from the storage alone, into its own folders', async () => {
    await createBackup(planOf(site, { stripes: 3 }))
    const other = await restoreSite({ version: '17.0.1000.7' })
    try {
      const { databases } = other.server.engine
      for (const database of databases.all) databases.remove(database)
      const restore = { dataDirectory: SERVER_DIRECTORY, logDirectory: `${SERVER_DIRECTORY}\\` }
      await restoreBackup(planOf(other, { restore }))
      expect(titles(other)).toEqual(['one', 'two'])
      expect(databases.find(LIVE)?.files.map(({ physicalName }) => physicalName)).toEqual([
        expect.stringMatching(/^D:\\Backup\\Task_Flow_s_[a-z0-9]{12}_1\.mdf$/),
        expect.stringMatching(/^D:\\Backup\\Task_Flow_s_[a-z0-9]{12}_2\.ldf$/),
      ])
      expect(await other.files()).toEqual([])
    } finally {
      await other.destroy()
    }
  })

  test('an older server refuses before anything is sent to it', async () => {
    await createBackup(planOf(site, {}))
    const older = await restoreSite({ version: '15.0.4400.1' })
    try {
      const error = await failure(restoreBackup(planOf(older, {}), { to: 'copy' }))
      expect(error).toMatchObject({ code: 'SERVER_UNSUPPORTED', message: expect.stringContaining('16.0.4135.4') })
      expect(older.server.statements().filter((text) => text.startsWith('RESTORE'))).toEqual([])
    } finally {
      await older.destroy()
    }
  })

  test('what was read back needs a way to the server', async () => {
    const transfer = { type: 'read-back', serverDirectory: SERVER_DIRECTORY } as const
    await createBackup(planOf(site, { transfer }))
    const error = await failure(restoreBackup(planOf(site, { transfer }), { to: 'copy' }))
    expect(error).toMatchObject({ code: 'TARGET_INVALID', hint: expect.stringContaining('restoreThrough') })
    const restoreThrough = { serverDirectory: SERVER_DIRECTORY, localDirectory: site.folder }
    await restoreBackup(planOf(site, { transfer: { ...transfer, restoreThrough } }), { to: 'copy' })
    expect(titles(site, 'copy')).toEqual(['one', 'two'])
  })

  test('what stayed on the server is restored from there, and stays', async () => {
    const plan = planOf(site, { transfer: { type: 'on-server', serverDirectory: SERVER_DIRECTORY } })
    await createBackup(plan)
    const files = await site.files()
    await verifyBackup(plan, { level: 'restored' })
    await restoreBackup(plan, { to: 'copy' })
    expect(titles(site, 'copy')).toEqual(['one', 'two'])
    expect(files).toHaveLength(1)
    expect(await site.files()).toEqual(files)
  })

  test('a file that came after the full is moved as well', async () => {
    const database = site.server.engine.databases.find(LIVE)
    if (!database) return expect.unreachable()
    const physicalName = 'C:\\SQL\\DATA\\more.ndf'
    database.files = [
      ...database.files,
      { fileId: 3, logicalName: 'more', physicalName, type: 'ROWS', sizeBytes: 8_388_608 },
    ]
    await site.backup('log')
    const before = site.server.statements().length
    await restoreBackup(site.plan(), { to: 'copy' })
    const restores = site.server
      .statements()
      .slice(before)
      .filter((text) => /^RESTORE (DATABASE|LOG)/.test(text))
    expect(restores.map((text) => text.match(/MOVE N'[^']*(?:''[^']*)*'/g) ?? [])).toEqual([
      ["MOVE N'Task]Flow''s'", "MOVE N'Task]Flow''s_log'"],
      ["MOVE N'more'"],
      [],
    ])
  })
})

describe('fake SQL Server: a RESTORE that ends half through', () => {
  const before = () => [`${LIVE}: ONLINE, MULTI_USER`]
  const cause = [
    { number: 3203, message: 'Read on "x" failed: 1117(The request could not be performed.)', class: 16 },
    { number: 3013, message: 'RESTORE DATABASE is terminating abnormally.', class: 16 },
  ]

  test.each([
    ['the server gives it up', cause, 'MEMBER_DAMAGED'],
    ['the connection breaks', 'drop', 'SERVER_UNREACHABLE'],
  ] as const)('because %s leaves nothing and says why', async (_, fault, code) => {
    site.server.fail(/^RESTORE DATABASE/, fault, { at: 'middle' })
    const error = await failure(restoreBackup(site.plan()))
    expect(error.code).toBe(code)
    if (fault !== 'drop') expect(error.message).toMatch(/3203: Read on .*3013/)
    expect(site.databases()).toEqual(before())
    expect(await site.files()).toEqual([])
  })

  test('because it was aborted, or is silent for too long, leaves nothing', async () => {
    const aborter = new AbortController()
    site.server.fail(/^RESTORE DATABASE/, 'hang', { at: 'middle', times: 2 })
    const aborted = failure(restoreBackup(site.plan(), { signal: aborter.signal }))
    await expect.poll(() => site.server.statements().some((text) => text.startsWith('RESTORE DATABASE'))).toBe(true)
    aborter.abort()
    expect((await aborted).code).toBe('ABORTED')
    expect(site.databases()).toEqual(before())
    const silent = await failure(restoreBackup(site.plan({ inactivityTimeoutMs: 100 })))
    expect(silent).toMatchObject({ code: 'SERVER_UNREACHABLE', message: expect.stringContaining('100 ms') })
    expect(site.databases()).toEqual(before())
    expect(await site.files()).toEqual([])
  })
})
