import { createBackup, restoreBackup, undoRestore, verifyBackup } from '@taskflow-backup/core'
import { afterAll, test as base, beforeAll, describe, expect } from 'vitest'
import { Databases, quoted, startSharedServer, whyNoLogical } from './support/databases.ts'
import { PlainPooler } from './support/plain-pooler.ts'
import type { TestServer } from './support/server.ts'

const why = whyNoLogical()
let server: TestServer

const test = base.extend<{ databases: Databases }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads which fixtures are used from the pattern
  databases: async ({}, use) => {
    const databases = await Databases.make(server, {
      // A materialized view is filled anew by whoever restores it: it tells how that one commits.
      sql: `CREATE TABLE task AS SELECT 1 AS id;
        CREATE MATERIALIZED VIEW restored_with AS SELECT current_setting('synchronous_commit')`,
    })
    await use(databases)
    await databases.destroy()
  },
})

const settingsOf = (name: string): Promise<unknown[]> =>
  server.sql(
    `SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = '${name}'`,
  )

describe.skipIf(why !== undefined)(`commits of a restore${why === undefined ? '' : `: ${why}`}`, () => {
  describe('on a server where each of them waits for the disk', () => {
    beforeAll(async () => {
      server = await startSharedServer()
    })
    afterAll(() => server?.destroy())

    test.for(['custom', 'directory'] as const)(
      'do not wait, and leave no setting: %s',
      async (format, { databases }) => {
        const plan = databases.plan({ postgres: { logical: { format } } })
        await createBackup(plan)
        const to = `${databases.prefix}_copy`
        await restoreBackup(plan, { to })
        expect(await databases.rows('TABLE restored_with', to)).toEqual([['off']])
        expect(await databases.rows('SHOW synchronous_commit', to)).toEqual([['on']])
        expect(await settingsOf(to)).toEqual([])
      },
    )

    test('leave alone what the live database says of it', async ({ databases }) => {
      await server.sql(`ALTER DATABASE ${quoted(databases.live)} SET synchronous_commit = remote_write`)
      const plan = databases.plan()
      await createBackup(plan)
      await restoreBackup(plan)
      expect(await databases.rows('TABLE restored_with')).toEqual([['off']])
      expect(await databases.rows('SHOW synchronous_commit')).toEqual([['remote_write']])
      expect(await settingsOf(databases.live)).toEqual([{ setconfig: ['synchronous_commit=remote_write'] }])
    })

    test('wait behind a pooler that takes no options', async ({ databases, onTestFinished }) => {
      const pooler = await PlainPooler.start(databases.folder, server)
      onTestFinished(() => pooler.stop())
      const connection = server.connection({ database: databases.live, host: databases.folder })
      const plan = databases.plan({ postgres: { connection } })
      await createBackup(plan)
      await verifyBackup(plan, { level: 'restored' })
      expect(pooler.refused).toBe(1)
      const to = `${databases.prefix}_copy`
      await restoreBackup(plan, { to })
      expect(await databases.rows('TABLE restored_with', to)).toEqual([['on']])
    })
  })

  describe('on a server where none of them waits', () => {
    beforeAll(async () => {
      // Nor does anybody else write the log soon.
      server = await startSharedServer({ synchronous_commit: 'off', wal_writer_delay: '10s' })
    })
    afterAll(() => server?.destroy())

    test('outlive a crash once the restore is over, and its undo as well', async ({ databases }) => {
      const plan = databases.plan()
      await createBackup(plan)
      await databases.sql('UPDATE task SET id = 2')
      const { undo } = await restoreBackup(plan)
      await server.stop('SIGKILL')
      await server.run()
      expect(await databases.rows('TABLE task')).toEqual([[1]])
      await undoRestore(plan, undo)
      await server.stop('SIGKILL')
      await server.run()
      expect(await databases.rows('TABLE task')).toEqual([[2]])
    })
  })
})
