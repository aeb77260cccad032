import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createBackup, type Manifest, type VerificationLevel, verifyBackup } from '@taskflow-backup/core'
import { afterEach, describe, expect, test } from 'vitest'
import { readDetails } from '../src/details.ts'
import type { MssqlOptions } from '../src/options.ts'
import { workIdOf } from '../src/transfer/names.ts'
import { readRecord } from '../src/transfer/on-server-record.ts'
import { type BackupSite, backupSite, DATABASE, PASSWORD, SERVER_DIRECTORY } from './support/backup-site.ts'

const NAME = '[Task]]Flow]'

let site: BackupSite
afterEach(() => site?.destroy())

const READ_BACK = { type: 'read-back', serverDirectory: SERVER_DIRECTORY } as const
const ON_SERVER = { type: 'on-server', serverDirectory: SERVER_DIRECTORY } as const
const S3 = { type: 'url', url: 's3://minio:9000/backups/app' } as const

const TRANSFERS: readonly (readonly [name: string, options: Partial<MssqlOptions>, members: RegExp[]])[] = [
  ['shared folder', {}, [/^app_backup_\d{8}_\d{6}\.(bak|trn)$/]],
  ['shared folder, stripes', { stripes: 2 }, [/_1of2\.(bak|trn)$/, /_2of2\.(bak|trn)$/]],
  ['read-back', { transfer: READ_BACK }, [/^app_backup_\d{8}_\d{6}\.(bak|trn)$/]],
  ['read-back, stripes', { transfer: READ_BACK, stripes: 3 }, [/_1of3\./, /_2of3\./, /_3of3\./]],
  ['on the server', { transfer: ON_SERVER }, [/^app_backup_\d{8}_\d{6}\.json$/]],
  ['URL', { transfer: S3 }, [/\.json$/]],
]

/** Fails when anything is wrong with a backup's members. */
const verify = (id: string, options: Partial<MssqlOptions> = {}, level: VerificationLevel = 'decoded') =>
  verifyBackup(site.plan(options), { id, level })

describe.each(TRANSFERS)('fake SQL Server: backups by %s', (_, options, names) => {
  test('full, differential and logs make a chain whose LSNs fit together', async () => {
    site = await backupSite(options)
    const made: Manifest[] = []
    for (const kind of ['full', 'log', 'differential', 'log'] as const) {
      site.server.insert(DATABASE, { kind, of: made.length })
      const { manifest } = await site.backup(kind)
      expect(manifest).toMatchObject({ kind, engine: { name: 'mssql' }, source: { name: DATABASE } })
      expect(manifest.requested).toBeUndefined()
      expect(manifest.members.map(({ name }) => name)).toEqual(names.map((name) => expect.stringMatching(name)))
      made.push(manifest)
    }
    const [full, log, differential, last] = made.map((manifest) => readDetails(manifest))
    expect(full?.lastLsn).toMatch(/^\d{25}$/)
    expect(made.map(({ position }) => position.begin)).toEqual([
      undefined,
      log?.firstLsn,
      differential?.firstLsn,
      last?.firstLsn,
    ])
    expect(made.map(({ position }) => position.end)).toEqual([full, log, differential, last].map((one) => one?.lastLsn))
    expect(differential?.databaseBackupLsn).toBe(full?.checkpointLsn)
    expect(differential?.differentialBaseLsn).toBe(full?.checkpointLsn)
    expect(last?.firstLsn).toBe(log?.lastLsn)
    for (const { id } of made) await verify(id)
    expect(site.statements().every((text) => / WITH FORMAT(, INIT)?, CHECKSUM/.test(text))).toBe(true)
    expect(site.statements().map((text) => /NAME = N'([^']+)'/.exec(text)?.[1])).toEqual(made.map(({ id }) => id))
    const kept = options.transfer === ON_SERVER ? 4 : 0
    expect(await site.files()).toHaveLength(kept)
    expect(site.server.engine.sessions.locks).toEqual([])
  })
})

describe('fake SQL Server: what a manifest tells', () => {
  test('everything that a restore needs', async () => {
    site = await backupSite({}, { timeZoneOffsetMinutes: 330 })
    const before = Date.now()
    const { manifest } = await site.backup()
    expect(readDetails(manifest)).toMatchObject({
      mode: 'mssql',
      database: DATABASE,
      recoveryModel: 'FULL',
      utcOffsetMinutesBefore: 330,
      utcOffsetMinutesAfter: 330,
      copyOnly: false,
      nativeCompression: false,
      transfer: 'shared-folder',
      files: [
        { logicalName: DATABASE, type: 'ROWS' },
        { logicalName: `${DATABASE}_log`, type: 'LOG' },
      ],
    })
    expect(manifest.method).toBe('backup-shared-folder')
    expect(manifest.source.sizeBytes).toBeGreaterThan(0)
    expect(Date.parse(manifest.consistentAt)).toBeGreaterThanOrEqual(before)
    expect(Date.parse(manifest.consistentAt)).toBeLessThanOrEqual(Date.now())
    expect(JSON.stringify(manifest)).not.toContain(PASSWORD)
  })

  test('a log is consistent before it was made, the others after', async () => {
    site = await backupSite()
    const { engine } = site.server
    engine.stepMs = 5
    const full = await site.backup()
    const log = await site.backup('log')
    const [fullMade, logMade] = engine.history.entries.map(({ header }) => header)
    expect(fullMade?.finishedAt).toBeGreaterThan((fullMade?.startedAt ?? 0) + 400)
    // The fake's clock has the steps of datetime.
    expect(Date.parse(full.manifest.consistentAt)).toBeGreaterThanOrEqual((fullMade?.finishedAt ?? 0) - 4)
    expect(Date.parse(log.manifest.consistentAt)).toBeLessThanOrEqual((logMade?.startedAt ?? 0) + 4)
  })

  test('the member is the very file that the server wrote', async () => {
    site = await backupSite()
    const { manifest } = await site.backup('full', { transfer: ON_SERVER })
    const [path] = readDetails(manifest).devices ?? []
    expect(path).toMatch(/^\/var\/opt\/mssql\/backup\/app_backup_\d{8}_\d{6}_[a-z0-9]{12}\.bak$/)
    const kept = await readFile(join(site.folder, (path as string).slice(SERVER_DIRECTORY.length)))
    const record = readRecord('x', Buffer.from(await memberOf(site, manifest)))
    expect(record).toMatchObject({ backup: manifest.id, kind: 'full', database: DATABASE, bytes: kept.length })
    expect(record.devices).toEqual([{ type: 'disk', path }])
    expect(manifest.notes.join()).toContain(path)
  })
})

/** The plain content of a backup's only member, stored without compression. */
async function memberOf({ storage, plan }: BackupSite, manifest: Manifest): Promise<Uint8Array> {
  const { decodeMember } = await import('@taskflow-backup/core')
  const [member] = manifest.members
  if (!member) throw new Error('no member')
  const body = await storage.get(`${plan().name}/${manifest.id}/${member.file}`)
  return Buffer.concat((await decodeMember(member, body, () => {}).toArray()) as Buffer[])
}

describe('fake SQL Server: options reach the statement', () => {
  test.each([
    ['copy-only fulls', { copyOnly: true }, /, COPY_ONLY,/],
    [
      'transfer size and buffers',
      { maxTransferSizeBytes: 131_072, bufferCount: 20 },
      /MAXTRANSFERSIZE = 131072, BUFFERCOUNT = 20/,
    ],
    ['the plan compresses', {}, /, NO_COMPRESSION,/],
    ['compression by the server', { nativeCompression: true }, /, COMPRESSION,/],
    ['on the server it compresses by itself', { transfer: ON_SERVER }, /, COMPRESSION,/],
    ['a credential', { transfer: { ...S3, credential: 'my key' } }, /URL = N's3:.*CREDENTIAL = N'my key'/],
  ] as const)('%s', async (_, options, pattern) => {
    site = await backupSite()
    const { id } = await site.backup('full', options)
    expect(site.statements().join()).toMatch(pattern)
    await verify(id, options)
  })

  test('without any compression in the plan the server compresses', async () => {
    site = await backupSite()
    await createBackup(site.plan({}, { compression: { algorithm: 'none' } }))
    expect(site.statements().join()).toMatch(/, COMPRESSION,/)
  })

  test('Express is told nothing about compression', async () => {
    site = await backupSite({}, { edition: 'express' })
    const { id } = await site.backup('full', { transfer: ON_SERVER })
    expect(site.statements().join()).not.toContain('COMPRESSION')
    await verify(id, { transfer: ON_SERVER })
  })

  test('read-back takes as many stripes as the last size needs', async () => {
    site = await backupSite()
    await site.backup('full', { transfer: READ_BACK })
    const { manifest } = await site.backup('full', { transfer: { ...READ_BACK, stripeBytes: 1_000_000 } })
    expect(manifest.members.length).toBeGreaterThanOrEqual(4)
    await verify(manifest.id)
    expect(await site.files()).toEqual([])
  })
})

describe('fake SQL Server: a base that cannot be continued becomes a full, with the reason', () => {
  test.each([
    ['log', 'the recovery model is SIMPLE', () => site.database.setRecoveryModel('SIMPLE'), /recovery model SIMPLE/],
    [
      'differential',
      'somebody made another full',
      () => site.sql(`BACKUP DATABASE ${NAME} TO DISK = N'${SERVER_DIRECTORY}/other.bak' WITH FORMAT`),
      /Another full/,
    ],
    [
      'log',
      'somebody made a log backup',
      () => site.sql(`BACKUP LOG ${NAME} TO DISK = N'${SERVER_DIRECTORY}/other.trn' WITH FORMAT`),
      /A log backup of .* was made since/,
    ],
  ] as const)('%s: %s', async (kind, _, disturb, reason) => {
    site = await backupSite()
    await site.backup()
    site.server.insert(DATABASE, { id: 2 })
    await disturb()
    const { manifest } = await site.backup(kind)
    expect(manifest).toMatchObject({ kind: 'full', requested: { kind, reason: expect.stringMatching(reason) } })
    await expect(createBackup(site.plan({}, { strictKinds: true }), { kind: 'differential' })).resolves.toMatchObject({
      kind: 'differential',
    })
  })

  test('with strictKinds it is refused, and the server makes nothing', async () => {
    site = await backupSite()
    await site.backup()
    site.database.setRecoveryModel('SIMPLE')
    const made = site.statements().length
    await expect(createBackup(site.plan({}, { strictKinds: true }), { kind: 'log' })).rejects.toMatchObject({
      code: 'BASE_UNUSABLE',
    })
    expect(site.statements()).toHaveLength(made)
  })

  test('a differential of a copy-only full', async () => {
    site = await backupSite({ copyOnly: true })
    await site.backup()
    expect((await site.backup('differential')).manifest.requested?.reason).toMatch(/copy-only/)
    expect((await site.backup('log')).manifest).toMatchObject({ kind: 'full' }) // no full of its own has begun a log chain
  })
})

describe('fake SQL Server: progress and names', () => {
  test('every byte is told twice, and the number only grows', async () => {
    site = await backupSite()
    await site.backup()
    site.events.length = 0
    site.server.engine.stepMs = 20
    await site.backup()
    const told = site.events.flatMap((event) => (event.type === 'progress' && event.phase === 'reading' ? [event] : []))
    expect(told.length).toBeGreaterThan(3)
    for (const [index, { bytes, totalBytes }] of told.entries()) {
      expect(bytes).toBeGreaterThanOrEqual(told[index - 1]?.bytes ?? 0)
      expect(totalBytes).toBeGreaterThan(6_000_000)
    }
  })

  test('temporary files carry the id of a lock that is held meanwhile', async () => {
    site = await backupSite()
    const { engine } = site.server
    engine.stepMs = 5
    const running = site.backup()
    await expect.poll(async () => (await site.files()).some((name) => name.endsWith('.bak'))).toBe(true)
    const seen = { files: await site.files(), locks: [...engine.sessions.locks] }
    await running
    const [id] = seen.files.map(workIdOf)
    expect(seen.locks).toEqual([`master: taskflow-backup:${id}`])
  })
})
