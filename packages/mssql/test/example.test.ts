import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type FakeSqlServer, startFakeSqlServer } from './support/engine/server.ts'

// examples/mssql-backup, run as its readers run it.

const SCRIPT = fileURLToPath(new URL('../../../examples/mssql-backup/mssql-backup.ts', import.meta.url))
const PASSWORD = 'Pässw0rd; "x"'

let folder: string
let server: FakeSqlServer
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mssql example '))
  await mkdir(join(folder, 'shared'))
  server = await startFakeSqlServer({
    directory: join(folder, 'shared'),
    serverDirectory: 'D:\\Backup',
    password: PASSWORD,
  })
  server.createDatabase('TaskManagement')
  server.insert('TaskManagement', { id: 1 })
})
afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

async function run(settings: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, [SCRIPT], {
    cwd: folder,
    env: { PATH: process.env.PATH, TMPDIR: folder, ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code: code as number, stdout, stderr }
}

const settings = (): Record<string, string> => ({
  MSSQL_SERVER: '127.0.0.1',
  MSSQL_PORT: String(server.port),
  MSSQL_ENCRYPT: 'no',
  MSSQL_USER: 'sa',
  MSSQL_PASSWORD: PASSWORD,
  MSSQL_DATABASE: 'TaskManagement',
  MSSQL_SERVER_DIRECTORY: 'D:\\Backup',
  MSSQL_LOCAL_DIRECTORY: join(folder, 'shared'),
})

describe('fake SQL Server: examples/mssql-backup', () => {
  test('makes a backup and proves it, and leaves the server as it was', async () => {
    const { code, stdout, stderr } = await run(settings())
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^full {2}\S+-full: /)
    expect(stdout).toMatch(/^ok +dbcc-checkdb: DBCC CHECKDB found nothing/m)
    expect(server.statements().filter((statement) => statement.startsWith('BACKUP'))).toEqual([
      expect.stringContaining('COPY_ONLY'),
    ])
    expect(server.databases().map(({ name }) => name)).toEqual(['TaskManagement'])
    expect(await readdir(join(folder, 'shared'))).toEqual([])
    expect(await readdir(join(folder, 'backups', 'example'))).not.toEqual([])
  })

  test('makes a log backup as well when it is asked to', async () => {
    const backups = join(folder, 'elsewhere')
    const { code, stdout } = await run({ ...settings(), MSSQL_LOG_BACKUP: 'yes', BACKUPS: backups })
    expect(code).toBe(0)
    expect(stdout).toMatch(/^log {3}\S+-log: /m)
    expect(server.statements().some((statement) => statement.startsWith('BACKUP LOG [TaskManagement]'))).toBe(true)
    expect(await readdir(join(backups, 'example'))).toHaveLength(1)
  })

  test('says what failed, without the password', async () => {
    const { code, stdout, stderr } = await run({ ...settings(), MSSQL_PASSWORD: 'wrong-secret' })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^SERVER_REFUSED: /)
    expect(stdout + stderr).not.toContain('wrong-secret')
  })

  test('without a server says what it needs, and that is no failure', async () => {
    const { code, stdout, stderr } = await run({ MSSQL_SERVER: 'sql' })
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout).toMatch(/There is no SQL Server to show this with/)
    expect(stdout).toMatch(/^ {2}set {2}MSSQL_SERVER /m)
    expect(stdout).toMatch(/^ {7}MSSQL_PASSWORD /m)
  })
})
