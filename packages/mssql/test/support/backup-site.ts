import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BackupAdapter,
  type BackupEvent,
  type BackupKind,
  type BackupPlan,
  type BackupPlanOptions,
  type BackupResult,
  createBackup,
  defineBackupPlan,
  memory,
  type Storage,
} from '@taskflow-backup/core'
import { collect } from '@taskflow-backup/testing'
import { type MssqlOptions, mssql } from '../../src/index.ts'
import type { Database } from './engine/database.ts'
import { type FakeSqlServer, type FakeSqlServerOptions, startFakeSqlServer } from './engine/server.ts'
import { poolFor } from './tds/client.ts'

/** How the fake server calls its folder. */
export const SERVER_DIRECTORY = '/var/opt/mssql/backup'
export const PASSWORD = 'Pässw0rd; "x"'
export const DATABASE = 'Task]Flow'

/** A fake SQL Server with one database, and a plan that backs it up into memory. */
export interface BackupSite {
  readonly server: FakeSqlServer
  readonly database: Database
  /** Where the server's files really are. */
  readonly folder: string
  readonly storage: Storage
  readonly events: BackupEvent[]
  adapter(options?: Partial<MssqlOptions>): BackupAdapter
  plan(options?: Partial<MssqlOptions>, planOptions?: Partial<BackupPlanOptions>): BackupPlan
  backup(kind?: BackupKind, options?: Partial<MssqlOptions>, signal?: AbortSignal): Promise<BackupResult>
  /** Names of the files that are on the server. */
  files(): Promise<string[]>
  /** Runs a statement as somebody else would. */
  sql(statement: string): Promise<void>
  /** The BACKUP statements that came. */
  statements(): string[]
  /** Keys of all stored objects. */
  keys(): Promise<string[]>
  destroy(): Promise<void>
}

export async function backupSite(
  options: Partial<MssqlOptions> = {},
  server: Partial<FakeSqlServerOptions> = {},
): Promise<BackupSite> {
  const folder = await mkdtemp(join(tmpdir(), 'mssql-backup-'))
  const fake = await startFakeSqlServer({
    directory: folder,
    serverDirectory: SERVER_DIRECTORY,
    password: PASSWORD,
    ...server,
  })
  const database = fake.createDatabase(DATABASE, { paddingBytes: 3_000_000 })
  fake.insert(DATABASE, { id: 1 })
  const storage = memory()
  const events: BackupEvent[] = []
  const adapter = (more: Partial<MssqlOptions> = {}) =>
    mssql({
      connection: fake.config,
      database: DATABASE,
      transfer: { type: 'shared-folder', serverDirectory: SERVER_DIRECTORY, localDirectory: folder },
      ...options,
      ...more,
    })
  const plan = (more: Partial<MssqlOptions> = {}, planOptions: Partial<BackupPlanOptions> = {}) =>
    defineBackupPlan({
      name: 'app',
      adapter: adapter(more),
      destinations: [storage],
      ...planOptions,
    })
  return {
    server: fake,
    database,
    folder,
    storage,
    events,
    adapter,
    plan,
    backup: (kind = 'full', more = {}, signal = new AbortController().signal) =>
      createBackup(plan(more), { kind, signal, onEvent: (event) => void events.push(event) }),
    files: async () => (await readdir(folder)).sort(),
    keys: async () => (await collect(storage.list(''))).map(({ key }) => key),
    async sql(statement) {
      const pool = await poolFor({ ...fake.config, port: fake.port }).connect()
      await pool
        .request()
        .batch(statement)
        .finally(() => pool.close())
    },
    statements: () => fake.statements().filter((text) => text.startsWith('BACKUP')),
    async destroy() {
      await fake.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
