import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createBackup, defineBackupPlan, directory, listBackups, pruneBackups } from '@taskflow-backup/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type MssqlOptions, mssql } from '../src/index.ts'
import type { Moment } from './support/engine/faults.ts'
import { type FakeSqlServer, startFakeSqlServer } from './support/engine/server.ts'
import type { RestoreOrders } from './support/restore-worker.ts'

const SERVER = '/var/opt/mssql/backup'
let folder: string
let files: string
let server: FakeSqlServer
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mssql-backup-kill-'))
  files = join(folder, 'server')
  server = await startFakeSqlServer({ directory: files, serverDirectory: SERVER, password: 'secret' })
  server.createDatabase('tasks')
})
afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

const optionsFor = (type: 'read-back' | 'on-server'): MssqlOptions => ({
  connection: server.config,
  database: 'tasks',
  transfer: { type, serverDirectory: SERVER },
})
const planFor = (options: MssqlOptions) =>
  defineBackupPlan({ name: 'tasks', adapter: mssql(options), destinations: [directory(join(folder, 'backups'))] })

async function killAt(options: MssqlOptions, pattern: RegExp, at: Moment): Promise<void> {
  server.fail(pattern, 'hang', { at })
  const worker = fork(fileURLToPath(new URL('support/restore-worker.ts', import.meta.url)))
  const orders: RestoreOrders = { mssql: options, backups: join(folder, 'backups'), backup: true }
  worker.send(orders)
  const closed = once(worker, 'close')
  try {
    await expect.poll(() => server.engine.faults.pending, { interval: 10 }).toBe(0)
  } finally {
    worker.kill('SIGKILL')
    await closed
  }
  await expect.poll(() => server.engine.sessions.locks).toEqual([])
}

/** As an hour later. */
async function age(): Promise<void> {
  for (const name of await readdir(files)) await utimes(join(files, name), 0, 0)
}
const prune = async (options: MssqlOptions): Promise<readonly string[]> =>
  (await pruneBackups(planFor(options))).restoreLeftovers

describe('fake SQL Server: a backup that is killed leaves nothing in the folder of the server for long', () => {
  test.each<['read-back' | 'on-server', string, RegExp, Moment]>([
    ['read-back', 'while the server writes', /^BACKUP DATABASE/, 'middle'],
    ['read-back', 'while its bytes are read', /OPENROWSET/, 'after'],
    ['on-server', 'while the server writes', /^BACKUP DATABASE/, 'middle'],
  ])('%s, %s', async (type, _, pattern, at) => {
    const options = optionsFor(type)
    await createBackup(planFor(options))
    const before = await readdir(files)
    await killAt(options, pattern, at)
    const [left, ...more] = (await readdir(files)).filter((name) => !before.includes(name))
    expect([left, more]).toEqual([expect.any(String), []])
    // Young ones may be those of work on another server that uses the same folder.
    expect(await prune(options)).toEqual([])
    await age()
    expect(await prune(options)).toEqual([`${SERVER}/${left}`])
    expect(await readdir(files)).toEqual(before)
    expect((await listBackups(planFor(options))).backups).toHaveLength(1)
  })

  test('what is whole, lives, or is not ours stays', async () => {
    const options = optionsFor('on-server')
    await createBackup(planFor(options))
    const [whole] = await readdir(files)
    // A manifest may name it, though neither msdb nor this plan know it.
    server.engine.history.entries.splice(0)
    for (const name of ['nightly_backup_1.bak', 'taskflow_temp_other.bak', 'x_backup_20260101_000000.bak'])
      await writeFile(join(files, name), 'TAPE')
    await age()
    expect(await prune({ ...options, database: 'tasks' })).toEqual([])
    expect(await readdir(files)).toContain(whole)
    expect(await readdir(files)).toHaveLength(4)
  })

  test('a server that cannot list its folders is left alone', async () => {
    await server.close()
    server = await startFakeSqlServer({
      directory: files,
      serverDirectory: SERVER,
      password: 'secret',
      version: '13.0.5026.0',
    })
    server.createDatabase('tasks')
    await writeFile(join(files, 'taskflow_temp_dead00000000.bak'), 'TAPE')
    await age()
    expect(await prune(optionsFor('read-back'))).toEqual([])
  })
})
