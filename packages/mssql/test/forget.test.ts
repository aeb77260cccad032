import { createBackup, defineBackupPlan, keepLast, memory, pruneBackups } from '@taskflow-backup/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type MssqlOptions, mssql } from '../src/index.ts'
import { LIVE, type RestoreSite, restoreSite, SERVER_DIRECTORY } from './support/restore-site.ts'

let site: RestoreSite
beforeEach(async () => {
  site = await restoreSite()
  site.insert('one')
})
afterEach(() => site.destroy())

function planWith(transfer: MssqlOptions['transfer'], destinations = [memory(), memory()]) {
  const adapter = mssql({ connection: site.server.config, database: LIVE, transfer })
  return defineBackupPlan({ name: 'tasks', adapter, destinations, retention: keepLast(1) })
}

describe('fake SQL Server: a pruned backup whose bytes are elsewhere', () => {
  test('goes from the server, and only it', async () => {
    const plan = planWith({ type: 'on-server', serverDirectory: SERVER_DIRECTORY })
    for (const kind of ['full', 'log', 'full'] as const) await createBackup(plan, { kind })
    const files = await site.files()
    expect(files).toHaveLength(3)
    const last = site.server.engine.history.entries.at(-1)?.devices.map(({ path }) => path.split('\\').at(-1))
    await pruneBackups(plan)
    expect(await site.files()).toEqual(last)
  })

  test('stays in the catalogue while the server cannot delete it', async () => {
    const plan = planWith({ type: 'on-server', serverDirectory: SERVER_DIRECTORY }, [memory()])
    for (const kind of ['full', 'full'] as const) await createBackup(plan, { kind })
    site.server.fail(/xp_delete_file/, [{ number: 229, message: 'Denied.', class: 14 }], { times: 2 })
    await expect(pruneBackups(plan)).rejects.toMatchObject({ message: expect.stringContaining('Denied') })
    expect(await site.files()).toHaveLength(2)
    await pruneBackups(plan)
    expect(await site.files()).toHaveLength(1)
  })

  test('at a URL is told, not deleted', async () => {
    const plan = planWith({ type: 'url', url: 's3://store:9000/bucket/tasks' }, [memory()])
    for (const kind of ['full', 'full'] as const) await createBackup(plan, { kind })
    await pruneBackups(plan, { onEvent: site.onEvent })
    expect(site.server.engine.disk.urls.size).toBe(2)
    const [first] = site.server.engine.disk.urls.keys()
    expect(site.warnings.join()).toContain(first)
  })
})
