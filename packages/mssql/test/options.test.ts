import { join } from 'node:path'
import { inspect } from 'node:util'
import sql from 'mssql'
import { describe, expect, test } from 'vitest'
import { checkOptions, type MssqlOptions } from '../src/options.ts'

const shared = {
  type: 'shared-folder',
  serverDirectory: '/var/opt/mssql/backup',
  localDirectory: '/mnt/backup',
} as const
const good = {
  connection: { server: 'db', user: 'sa', password: 'hunter2' },
  database: 'TaskManagement',
  transfer: shared,
}

/** What is wrong with `good` when some of it is other than it should be. */
function problemsOf(bad: object): readonly string[] {
  try {
    checkOptions({ ...good, ...bad } as MssqlOptions)
    return []
  } catch (error) {
    expect(error).toMatchObject({ code: 'OPTIONS_INVALID' })
    expect(inspect(error, { depth: 20 })).not.toContain('hunter2')
    return (error as { details: string[] }).details
  }
}

describe('options', () => {
  test('get their defaults, and are frozen', () => {
    const checked = checkOptions(good)
    expect(checked).toMatchObject({
      database: 'TaskManagement',
      copyOnly: false,
      nativeCompression: 'auto',
      stripes: 1,
      checkDatabase: 'full',
      inactivityTimeoutMs: 600_000,
      restore: { method: 'swap' },
    })
    expect([checked, checked.transfer, checked.restore].every(Object.isFrozen)).toBe(true)
  })

  test.each([
    [{ connection: undefined }, ['connection']],
    [{ connection: 'hunter2' }, ['connection']],
    [{ connection: { user: 'sa' } }, ['connection']],
    [{ database: '' }, ['database']],
    [{ database: 'x'.repeat(129) }, ['database']],
    [{ database: 'a\0b' }, ['database']],
    [{ database: 'TempDB' }, ['database']],
    [{ transfer: undefined }, ['transfer']],
    [{ transfer: { type: 'constructor' } }, ['transfer']],
    [{ transfer: { type: 'shared-folder' } }, ['transfer.serverDirectory', 'transfer.localDirectory']],
    [{ transfer: { ...shared, fileMode: 0o1777 } }, ['transfer.fileMode']],
    [{ transfer: { ...shared, colour: 1 } }, ['transfer.colour']],
    [{ transfer: { type: 'read-back', serverDirectory: '/b', stripeBytes: 2 ** 31 } }, ['transfer.stripeBytes']],
    [
      { transfer: { type: 'read-back', serverDirectory: '/b', restoreThrough: {} } },
      ['transfer.restoreThrough.serverDirectory', 'transfer.restoreThrough.localDirectory'],
    ],
    [{ transfer: { type: 'on-server' } }, ['transfer.serverDirectory']],
    [{ transfer: { type: 'url', url: 'http://host/x' } }, ['transfer.url']],
    [{ transfer: { type: 'url', url: 'https://user:hunter2@host/x' } }, ['transfer.url']],
    [{ transfer: { type: 'url', url: 'https://host/x?sig=hunter2' } }, ['transfer.url']],
    [{ transfer: { type: 'url', url: 's3://host/x', credential: '' } }, ['transfer.credential']],
    [{ copyOnly: 1 }, ['copyOnly']],
    [{ nativeCompression: 'yes' }, ['nativeCompression']],
    [{ stripes: 0 }, ['stripes']],
    [{ stripes: 65 }, ['stripes']],
    [{ maxTransferSizeBytes: 65_537 }, ['maxTransferSizeBytes']],
    [{ maxTransferSizeBytes: 4_194_304 + 65_536 }, ['maxTransferSizeBytes']],
    [{ transfer: { type: 'url', url: 's3://h/b' }, maxTransferSizeBytes: 65_536 }, ['maxTransferSizeBytes']],
    [{ bufferCount: 0 }, ['bufferCount']],
    [
      { serverEncryption: { algorithm: 'ROT13' } },
      ['serverEncryption.algorithm', 'serverEncryption.serverCertificate'],
    ],
    [{ checkDatabase: 'no' }, ['checkDatabase']],
    [{ inactivityTimeoutMs: 0 }, ['inactivityTimeoutMs']],
    [
      { restore: { method: 'magic', dataDirectory: '', colour: 1 } },
      ['restore.method', 'restore.dataDirectory', 'restore.colour'],
    ],
    [{ colour: 1, stripes: -1 }, ['stripes', 'colour']],
  ])('%j: names what is wrong', (bad, names) => {
    expect(problemsOf(bad).map((problem) => problem.slice(0, problem.indexOf(':')))).toEqual(names)
  })

  test.each([
    { transfer: { type: 'url', url: 's3://minio:9000/backups' }, maxTransferSizeBytes: 5_242_880 },
    { transfer: { type: 'url', url: 'https://account.blob.core.windows.net/c/f', credential: 'key' } },
    { transfer: { type: 'on-server', serverDirectory: 'D:\\Backup' }, stripes: 4, bufferCount: 50 },
    { serverEncryption: { algorithm: 'AES_256', serverCertificate: 'backup' } },
  ])('%j is fine', (fine) => {
    expect(problemsOf(fine)).toEqual([])
  })

  test("our own folder counts from the working directory, the server's does not", () => {
    const { transfer } = checkOptions({ ...good, transfer: { ...shared, serverDirectory: 'x', localDirectory: 'y' } })
    expect(transfer).toMatchObject({ serverDirectory: 'x', localDirectory: join(process.cwd(), 'y') })
  })
})

describe('the connection', () => {
  const text = 'Server=db\\named,1444;Database=app;User Id=sa;Password=hunter2;Encrypt=true'

  test.each([
    ['a config', { server: 'db', port: 1444, user: 'sa', password: 'hunter2' }, 'db:1444'],
    ['a connection string', text.replace('\\named', ''), 'db:1444'],
    ['a pool', () => new sql.ConnectionPool({ server: 'db', port: 1444, user: 'sa', password: 'hunter2' }), 'db:1444'],
    ['a named instance', text, 'db\\named'],
  ])('of %s is one of our own', (_, given, where) => {
    const connection = (typeof given === 'function' ? given() : given) as MssqlOptions['connection']
    const { connection: source } = checkOptions({ ...good, connection })
    expect(source.where).toBe(where)
    expect(source.config()).toMatchObject({
      server: 'db',
      port: 1444,
      user: 'sa',
      password: 'hunter2',
      database: 'master',
      requestTimeout: 0,
      pool: { max: 1 },
      options: { database: 'master', appName: 'taskflow-backup', language: 'us_english' },
    })
  })

  test('is never shown', () => {
    const checked = checkOptions({ ...good, connection: text })
    expect(inspect(checked, { depth: 20, showHidden: true })).not.toContain('hunter2')
    expect(JSON.stringify(checked)).not.toContain('hunter2')
    expect(checked.connection.redact(`a hunter2 b ${text} c`)).toBe('a *** b *** c')
  })

  test('is not changed by us', () => {
    const config = { server: 'db\\named', user: 'sa', password: 'hunter2', options: { encrypt: false } }
    const before = structuredClone(config)
    const { connection } = checkOptions({ ...good, connection: config })
    new sql.ConnectionPool(connection.config())
    expect(config).toEqual(before)
    expect(connection.config().options).toMatchObject({ encrypt: false })
  })
})
