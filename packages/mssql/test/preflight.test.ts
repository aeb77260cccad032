import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { MssqlOptions } from '../src/options.ts'
import { assertRoom } from '../src/preflight.ts'
import { type BackupSite, backupSite, DATABASE, PASSWORD, SERVER_DIRECTORY } from './support/backup-site.ts'
import type { Permission } from './support/engine/sessions.ts'

let site: BackupSite
afterEach(() => site?.destroy())

const NAME = '[Task]]Flow]'
const READ_BACK = { type: 'read-back', serverDirectory: SERVER_DIRECTORY } as const
const ON_SERVER = { type: 'on-server', serverDirectory: SERVER_DIRECTORY } as const

type ServerOptions = Parameters<typeof backupSite>[1]

/** Why no backup can be made. Nothing was left by finding out. */
async function refusalOf(
  options: Partial<MssqlOptions>,
  server: ServerOptions = {},
  prepare: () => unknown = () => {},
) {
  site = await backupSite({}, server)
  await prepare()
  const error = await site.backup('full', options).catch((reason: unknown) => reason)
  expect(await site.files()).toEqual([])
  expect(await site.keys()).toEqual([])
  expect(site.statements()).toEqual([])
  return error as { code: string; message: string; hint: string; details: unknown }
}

describe('fake SQL Server: what kind of server', () => {
  test.each([
    ['Azure SQL Database', { edition: 'azure-sql' }, {}, /Azure SQL Database has no BACKUP/],
    ['Managed Instance', {}, { engineEdition: 8 }, /Managed Instance makes only copy-only fulls/],
    ['2014', { version: '12.0.6024.0' }, {}, /12\.0\.6024\.0 is older than 2016/],
  ] as const)('%s is refused', async (_, server, facts, message) => {
    const error = await refusalOf({}, server, () => Object.assign(site.server.engine.facts, facts))
    expect(error).toMatchObject({ code: 'SERVER_UNSUPPORTED', message: expect.stringMatching(message) })
    expect(error.hint.length).toBeGreaterThan(10)
  })

  test.each([
    ['compression on Express', { nativeCompression: true }, { edition: 'express' }, /cannot compress/],
    [
      'encryption on Express',
      { serverEncryption: { algorithm: 'AES_256', serverCertificate: 'c' } },
      { edition: 'express' },
      /cannot encrypt/,
    ],
    [
      'S3 before 2022',
      { transfer: { type: 'url', url: 's3://h/b' } },
      { version: '15.0.4123.1' },
      /Only SQL Server 2022/,
    ],
  ] as const)('%s is refused', async (_, options, server, message) => {
    expect(await refusalOf(options, server)).toMatchObject({
      code: 'SERVER_UNSUPPORTED',
      message: expect.stringMatching(message),
    })
  })
})

describe('fake SQL Server: the database', () => {
  test('is missing', async () => {
    expect(await refusalOf({ database: 'nope' })).toMatchObject({
      code: 'SOURCE_MISSING',
      message: expect.stringContaining('"nope"'),
    })
  })

  test.each([
    ['RESTORING', 'SOURCE_BUSY'],
    ['OFFLINE', 'SOURCE_UNREADABLE'],
  ] as const)('is %s', async (state, code) => {
    const error = await refusalOf({}, {}, () => Object.assign(site.database, { state }))
    expect(error).toMatchObject({ code, message: `${DATABASE} is ${state}.` })
  })
})

describe('fake SQL Server: what the login may do', () => {
  /** A site, and options that use it by a login with these permissions. */
  async function asClerk(...permissions: readonly Permission[]): Promise<Partial<MssqlOptions>> {
    site = await backupSite()
    site.server.addLogin('clerk', { password: PASSWORD, permissions })
    return { connection: { ...site.server.config, user: 'clerk' } }
  }

  test.each([
    ['BACKUP DATABASE', [], {}],
    ['ADMINISTER BULK OPERATIONS', ['BACKUP DATABASE'], { transfer: READ_BACK }],
    ['may not remove backup files', ['BACKUP DATABASE', 'ADMINISTER BULK OPERATIONS'], { transfer: READ_BACK }],
    ['may not remove backup files', ['BACKUP DATABASE'], { transfer: ON_SERVER }],
  ] as const)('%s is missing', async (missing, permissions, options) => {
    const clerk = await asClerk(...permissions)
    const error = await site.backup('full', { ...clerk, ...options }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'PRIVILEGE_MISSING', message: expect.stringContaining(missing) })
    expect((error as { hint: string }).hint).toMatch(/GRANT|sysadmin/)
    expect(await site.files()).toEqual([])
  })

  test.each([
    ['Linux', SERVER_DIRECTORY, 'ALTER SERVER ROLE sysadmin ADD MEMBER [clerk]'],
    ['Windows', 'D:\\Backup', 'GRANT ADMINISTER BULK OPERATIONS TO [clerk]'],
  ])('what lets a login load files on %s is in the hint', async (_, serverDirectory, hint) => {
    site = await backupSite({}, { serverDirectory })
    site.server.addLogin('clerk', { password: PASSWORD, permissions: ['BACKUP DATABASE'] })
    const connection = { ...site.server.config, user: 'clerk' }
    await expect(
      site.backup('full', { connection, transfer: { type: 'read-back', serverDirectory } }),
    ).rejects.toMatchObject({ code: 'PRIVILEGE_MISSING', hint: expect.stringContaining(hint) })
  })

  test('BACKUP LOG alone is missing: fulls are made, logs are not', async () => {
    const clerk = await asClerk('BACKUP DATABASE', 'VIEW ANY DEFINITION')
    expect((await site.backup('full', clerk)).kind).toBe('full')
    await expect(site.backup('log', clerk)).rejects.toMatchObject({
      code: 'PRIVILEGE_MISSING',
      message: expect.stringContaining('BACKUP LOG'),
    })
  })

  test('BACKUP DATABASE alone is missing: logs are made, and what becomes a full is not', async () => {
    const clerk = await asClerk('BACKUP LOG', 'VIEW ANY DEFINITION')
    const lacksFull = { code: 'PRIVILEGE_MISSING', details: { missing: ['BACKUP DATABASE'] } }
    await expect(site.backup('log', clerk)).rejects.toMatchObject(lacksFull)
    await site.backup('full')
    expect((await site.backup('log', clerk)).kind).toBe('log')
    await expect(site.backup('differential', clerk)).rejects.toMatchObject(lacksFull)
    await expect(site.backup('full', clerk)).rejects.toMatchObject(lacksFull)
    site.server.insert(DATABASE, { id: 2 })
    await site.sql(`BACKUP LOG ${NAME} TO DISK = N'${SERVER_DIRECTORY}/other.trn' WITH FORMAT`)
    await expect(site.backup('log', clerk)).rejects.toMatchObject(lacksFull)
  })

  test('little is enough: a backup operator without a view of the server', async () => {
    const clerk = await asClerk('BACKUP DATABASE', 'BACKUP LOG')
    const { manifest } = await site.backup('full', clerk)
    expect(manifest.kind).toBe('full')
    expect(await site.files()).toEqual([])
  })
})

describe('fake SQL Server: folders', () => {
  let other: string
  afterEach(() => rm(other ?? '', { recursive: true, force: true }))

  test.each([
    ['is another folder', { serverDirectory: SERVER_DIRECTORY }],
    ['does not exist for the server', { serverDirectory: '/nowhere' }],
  ])('the one of the server %s', async (message, { serverDirectory }) => {
    other = await mkdtemp(join(tmpdir(), 'mssql-other-'))
    const error = await refusalOf({ transfer: { type: 'shared-folder', serverDirectory, localDirectory: other } })
    expect(error).toMatchObject({ code: 'SERVER_SETTING', message: expect.stringContaining(message) })
    expect(error.hint).toContain('service account')
  })

  test('ours does not exist', async () => {
    const transfer = {
      type: 'shared-folder',
      serverDirectory: SERVER_DIRECTORY,
      localDirectory: '/nowhere/at/all',
    } as const
    expect(await refusalOf({ transfer })).toMatchObject({
      code: 'SERVER_SETTING',
      message: expect.stringContaining('ENOENT'),
    })
  })

  test('ours is closed', async ({ skip }) => {
    skip(process.getuid?.() === 0, 'root may write everywhere')
    other = await mkdtemp(join(tmpdir(), 'mssql-other-'))
    await mkdir(join(other, 'closed'), { mode: 0o500 })
    const transfer = {
      type: 'shared-folder',
      serverDirectory: SERVER_DIRECTORY,
      localDirectory: join(other, 'closed'),
    } as const
    expect(await refusalOf({ transfer })).toMatchObject({ code: 'STORAGE_DENIED' })
  })

  test('a server that may not be asked is believed, until its file is not seen', async () => {
    other = await mkdtemp(join(tmpdir(), 'mssql-other-'))
    site = await backupSite()
    site.server.addLogin('clerk', { password: PASSWORD, permissions: ['BACKUP DATABASE'] })
    const transfer = { type: 'shared-folder', serverDirectory: SERVER_DIRECTORY, localDirectory: other } as const
    const connection = { ...site.server.config, user: 'clerk' }
    await expect(site.backup('full', { transfer, connection })).rejects.toMatchObject({
      code: 'SERVER_SETTING',
      message: expect.stringContaining('which is not at'),
    })
  })
})

describe('room', () => {
  test('what is measured refuses, what is guessed warns', () => {
    const warnings: string[] = []
    const check = (free: number | undefined, bytes: number, measured: boolean) =>
      assertRoom(free, { bytes, measured }, 'The folder', (message) => warnings.push(message))
    expect(() => check(99, 100, true)).toThrow(
      expect.objectContaining({ code: 'STORAGE_FULL', details: { freeBytes: 99, neededBytes: 100 } }),
    )
    check(100, 100, true)
    check(undefined, 100, true)
    expect(warnings).toEqual([])
    check(99, 100, false)
    expect(warnings.join()).toContain('room for 99 bytes')
  })

  test('fake SQL Server: too little on the volume of the server', async () => {
    site = await backupSite({ transfer: ON_SERVER })
    await site.backup()
    const { disk } = site.server.engine
    disk.freeBytes = 1_000_000
    const sent = site.statements().length
    await expect(site.backup()).rejects.toMatchObject({ code: 'STORAGE_FULL', details: { freeBytes: 1_000_000 } })
    expect(site.statements()).toHaveLength(sent)
    // Enough for a log, which is not asked to leave room for a full; one that becomes a full is.
    await site.backup('log')
    site.server.insert(DATABASE, { id: 2 })
    await site.sql(`BACKUP LOG ${NAME} TO DISK = N'${SERVER_DIRECTORY}/other.trn' WITH FORMAT`)
    await expect(site.backup('log')).rejects.toMatchObject({ code: 'STORAGE_FULL', details: { freeBytes: 1_000_000 } })
  })
})
