import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BackupStatement, backupStatement } from '../../../src/statements/backup.ts'
import type { Device } from '../../../src/statements/devices.ts'
import { HISTORY_BY_NAME, type HistoryRow } from '../../../src/statements/queries/history.ts'
import { type RestoreStatement, recoverStatement, restoreStatement } from '../../../src/statements/restore.ts'
import { type Client, connectTo } from './client.ts'
import { type FakeSqlServer, type FakeSqlServerOptions, startFakeSqlServer } from './server.ts'

/** How the server calls the folder of its backups. */
export const BACKUPS = '/var/opt/mssql/backup'
export const PASSWORD = 'S3cret; "pass\''

/** A fake server with a database `app` and a client, and short ways to back up and restore. */
export interface EngineBench {
  readonly fake: FakeSqlServer
  readonly client: Client
  /** Where the backups really are. */
  readonly folder: string
  /** The statement of a backup of `app` into the file `name`. */
  backup(what: 'full' | 'differential' | 'log', name: string, options?: Partial<BackupStatement>): string
  /** The statement of a restore of the file `name` as `copy`, WITH NORECOVERY and its files moved. */
  restore(what: 'database' | 'log', name: string, options?: Partial<RestoreStatement>): string
  /** A row, at a moment of its own. */
  insert(row: unknown): void
  /** The errors of a statement, the cause first. */
  errorsOf(statement: string): Promise<readonly number[]>
  /** Runs these, opens the database `copy` and returns its rows. */
  restored(...steps: readonly string[]): Promise<unknown[]>
  /** What msdb has of the newest backup of `app` with this name. */
  historyOf(name: string): Promise<HistoryRow>
  close(): Promise<void>
}

export const disk = (name: string): Device => ({ type: 'disk', path: `${BACKUPS}/${name}` })

export async function engineBench(options: Partial<FakeSqlServerOptions> = {}): Promise<EngineBench> {
  const folder = await fs.mkdtemp(join(tmpdir(), 'fake-sql-server-'))
  const fake = await startFakeSqlServer({ directory: folder, serverDirectory: BACKUPS, password: PASSWORD, ...options })
  fake.createDatabase('app')
  const client = await connectTo(fake)
  const { dataPath } = fake.engine.facts
  return {
    fake,
    client,
    folder,
    backup: (what, name, more = {}) =>
      backupStatement({
        what: what === 'log' ? 'log' : 'database',
        database: 'app',
        devices: [disk(name)],
        checksum: true,
        name,
        description: '',
        statsPercent: 10,
        ...(what === 'differential' && { differential: true }),
        ...more,
      }),
    restore: (what, name, more = {}) =>
      restoreStatement({
        what,
        database: 'copy',
        devices: [disk(name)],
        moves:
          what === 'log'
            ? []
            : [
                { logicalName: 'app', path: `${dataPath}copy.mdf` },
                { logicalName: 'app_log', path: `${dataPath}copy.ldf` },
              ],
        recovery: 'norecovery',
        checksum: true,
        statsPercent: 50,
        ...more,
      }),
    insert(row) {
      fake.clock.advance(1000)
      fake.insert('app', row)
      fake.clock.advance(1000)
    },
    errorsOf: async (statement) => (await client.run(statement)).errors,
    async restored(...steps) {
      for (const step of [...steps, recoverStatement('copy')]) await client.must(step)
      return fake.rows('copy')
    },
    async historyOf(name) {
      const [row] = await client.rows<HistoryRow>(HISTORY_BY_NAME, { database: 'app', name })
      if (!row) throw new Error(`no backup ${name} in the history`)
      return row
    },
    async close() {
      await client.close()
      await fake.close()
      await fs.rm(folder, { recursive: true, force: true })
    },
  }
}
