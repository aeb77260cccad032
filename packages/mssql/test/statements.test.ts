import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type BackupStatement, backupStatement } from '../src/statements/backup.ts'
import * as database from '../src/statements/database.ts'
import {
  fileListStatement,
  headerStatement,
  type RestoreStatement,
  recoverStatement,
  restoreStatement,
  verifyStatement,
} from '../src/statements/restore.ts'
import * as queries from './support/all-queries.ts'
import { tokens } from './support/tsql-tokens.ts'

const GOLDEN = join(import.meta.dirname, 'golden')
const odd = "we]ird'; DROP DATABASE [x];--"
const disk = { type: 'disk', path: 'D:\\Backup\\TaskManagement.bak' } as const
const linux = { type: 'disk', path: "/var/opt/mssql/backup/O'Brien.trn" } as const
const s3 = { type: 'url', path: 's3://minio.example:9000/backups/TaskManagement.bak' } as const
const azure = { type: 'url', path: 'https://account.blob.core.windows.net/backups/TaskManagement.bak' } as const
const stripes = [1, 2, 3].map((n) => ({ type: 'disk', path: `D:\\Backup\\TaskManagement_${n}of3.bak` }) as const)

const backup = (over: Partial<BackupStatement> = {}): string =>
  backupStatement({
    what: 'database',
    database: 'TaskManagement',
    devices: [disk],
    checksum: true,
    name: '20260131T120000Z-1a2b3c4d',
    description: 'taskflow-backup',
    statsPercent: 5,
    ...over,
  })
const restore = (over: Partial<RestoreStatement> = {}): string =>
  restoreStatement({
    what: 'database',
    database: 'TaskManagement',
    devices: [disk],
    moves: [],
    recovery: 'norecovery',
    checksum: true,
    statsPercent: 5,
    ...over,
  })
const log = (over: Partial<RestoreStatement> = {}): string => restore({ what: 'log', devices: [linux], ...over })

const CASES: { readonly [file: string]: string } = {
  'backup-full': backup(),
  'backup-full-striped-compressed': backup({
    devices: stripes,
    compression: true,
    maxTransferSizeBytes: 4_194_304,
    bufferCount: 50,
  }),
  'backup-full-copy-only-uncompressed': backup({ copyOnly: true, compression: false, description: '' }),
  'backup-full-encrypted': backup({ encryption: { algorithm: 'AES_256', serverCertificate: 'Backup]Cert' } }),
  'backup-full-to-s3': backup({ devices: [s3], compression: true, maxTransferSizeBytes: 20_971_520 }),
  'backup-full-to-azure-page-blob': backup({ devices: [azure], credential: 'account key' }),
  'backup-differential': backup({ differential: true }),
  'backup-log': backup({ what: 'log', devices: [linux] }),
  'backup-log-copy-only': backup({ what: 'log', copyOnly: true }),
  'backup-tail-log': backup({ what: 'log', tailLog: true }),
  'backup-odd-name': backup({ database: odd, name: odd, description: odd }),
  'restore-full': restore(),
  'restore-full-recovery-replace': restore({ recovery: 'recovery', replace: true, fileNumber: 3 }),
  'restore-full-moved': restore({
    database: odd,
    devices: stripes,
    moves: [
      { logicalName: 'TaskManagement', path: 'D:\\Data\\Staged.mdf' },
      { logicalName: "log'", path: 'E:\\Log\\Staged_log.ldf' },
    ],
  }),
  'restore-full-at-lsn': restore({ stopAtLsn: 25_000_000_006_200_170n }),
  'restore-full-from-url': restore({ devices: [azure], credential: 'account key', checksum: false }),
  'restore-log': log(),
  'restore-log-stop-at': log({ stopAt: '2026-01-31T12:34:56.997', recovery: 'recovery' }),
  'restore-log-stop-at-mark': log({ stopAtMark: { mark: "price list 'A'" } }),
  'restore-log-stop-before-mark': log({ stopBeforeMark: { mark: 'nightly', after: '2026-01-31T00:00:00' } }),
  'restore-log-stop-before-lsn': log({ stopBeforeLsn: 17_126_658_000_000_314_200_037n }),
  recover: recoverStatement(odd),
  'file-list': fileListStatement(stripes),
  'file-list-of-set': fileListStatement([disk], { fileNumber: 2 }),
  header: headerStatement([linux]),
  verify: verifyStatement(stripes),
  'verify-set-without-checksums': verifyStatement([disk], { fileNumber: 2, checksum: false, statsPercent: 10 }),
  'check-database': database.checkDatabaseStatement('TaskManagement'),
  'check-database-physical': database.checkDatabaseStatement(odd, { physicalOnly: true }),
  'drop-database': database.dropDatabaseStatement(odd),
  'rename-database': database.renameDatabaseStatement(odd, 'TaskManagement'),
  'single-user-rollback': database.singleUserStatement('TaskManagement', 'rollback'),
  'single-user-no-wait': database.singleUserStatement('TaskManagement', 'no-wait'),
  'multi-user': database.multiUserStatement('TaskManagement'),
  'multi-user-rollback': database.multiUserStatement('TaskManagement', 'rollback'),
  'restricted-user': database.restrictedUserStatement('TaskManagement', 'rollback'),
  use: database.useStatement('Task]Management'),
  'delete-file': database.deleteFileStatement(linux.path),
  'delete-any-file': database.deleteFileStatement(disk.path, 'xp_delete_files'),
}

describe('statements', () => {
  it.each(Object.entries(CASES))('%s is what the golden file says', async (file, statement) => {
    await expect(`${statement}\n`).toMatchFileSnapshot(join(GOLDEN, `${file}.sql`))
  })

  it('have a golden file each, and no golden file is left over', () => {
    expect(readdirSync(GOLDEN).sort()).toEqual(
      Object.keys(CASES)
        .map((file) => `${file}.sql`)
        .sort(),
    )
  })

  it.each<[string, () => string]>([
    ['a differential log', () => backup({ what: 'log', differential: true })],
    ['a copy-only differential', () => backup({ differential: true, copyOnly: true })],
    ['the tail of a log from a database backup', () => backup({ tailLog: true })],
    ['no file', () => backup({ devices: [] })],
    ['65 files', () => backup({ devices: Array.from({ length: 65 }, (_, n) => ({ type: 'disk', path: `x${n}` })) })],
    ['a file and a URL', () => backup({ devices: [disk, s3] })],
    ['one file twice', () => backup({ devices: [disk, disk] })],
    ['a name of 129 characters', () => backup({ name: 'x'.repeat(129) })],
    ['no name', () => backup({ name: '' })],
    ['a description of 256 characters', () => backup({ description: 'x'.repeat(256) })],
    ['STATS of 0', () => backup({ statsPercent: 0 })],
    ['STATS that are no number', () => backup({ statsPercent: '5; DROP DATABASE x' as unknown as number })],
    ['a transfer size that is no multiple of 64 KiB', () => backup({ maxTransferSizeBytes: 100_000 })],
    ['more than 4 MiB to a disk', () => backup({ maxTransferSizeBytes: 5_242_880 })],
    ['less than 5 MiB to S3', () => backup({ devices: [s3], maxTransferSizeBytes: 4_194_304 })],
    ['an unknown encryption', () => backup({ encryption: { algorithm: 'X' as 'AES_128', serverCertificate: 'c' } })],
    ['a credential for a file', () => backup({ credential: 'c' })],
    ['two stops', () => log({ stopAt: '2026-01-31T00:00:00', stopAtLsn: 1n })],
    ['a mark in a database backup', () => restore({ stopAtMark: { mark: 'm' } })],
    ['a mark that would be read as an LSN', () => log({ stopAtMark: { mark: 'LSN:1' } })],
    ['a time with a zone', () => log({ stopAt: '2026-01-31T00:00:00Z' })],
    ['a time that depends on the language', () => log({ stopAt: '01/02/2026 00:00' })],
    ['two files in one place', () => restore({ moves: ['a', 'b'].map((logicalName) => ({ logicalName, path: 'p' })) })],
    ['one file in two places', () => restore({ moves: ['p', 'q'].map((path) => ({ logicalName: 'a', path })) })],
    ['backup 0 of a file', () => restore({ fileNumber: 0 })],
    ['wildcards in a file to delete', () => database.deleteFileStatement('D:\\Backup\\*.bak')],
  ])('refuse %s', (_what, build) => {
    expect(build).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }))
  })
})

describe('queries', () => {
  const texts = Object.entries(queries).flatMap(([name, one]): [string, string][] =>
    typeof one === 'string' ? [[name, one]] : [],
  )

  it.each(texts)('%s is whole, without comments, and casts what JavaScript cannot hold', (_name, text) => {
    const found = tokens(text)
    expect(found.at(-1)).toEqual({ type: 'sign', value: ';' })
    expect(found.some(({ type }) => type === 'comment')).toBe(false)
    const depth = found.reduce((open, { value }) => open + (value === '(' ? 1 : value === ')' ? -1 : 0), 0)
    expect(depth).toBe(0)
    // Every LSN, size in bytes and GUID is the argument of a CAST to text.
    for (const [index, { type, value }] of found.entries()) {
      if (type === 'word' && /_(LSN|GUID|UUID|BYTES)$|^(BACKUP|COMPRESSED_BACKUP)_SIZE$/.test(value))
        expect(found.slice(index + 1, index + 3).map((token) => token.value)).toEqual(['AS', 'VARCHAR'])
    }
  })

  it('escape what LIKE would take as a pattern', () => {
    expect(queries.likePrefix('a_b%c[d]!e')).toBe('a!_b!%c![d]!!e%')
  })
})
