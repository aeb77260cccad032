import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BackupEvent,
  type BackupKind,
  type BackupPlan,
  createBackup,
  defineBackupPlan,
  memory,
  pruneBackups,
} from '@taskflow-backup/core'
import { type MssqlOptions, mssql } from '../../src/index.ts'
import { type FakeSqlServer, type FakeSqlServerOptions, startFakeSqlServer } from './engine/server.ts'

/** How the fake server calls its folder. */
export const SERVER_DIRECTORY = 'D:\\Backup'
export const LIVE = "Task]Flow's"

/** A fake SQL Server with one small database, and a plan that backs it up into memory. */
export interface RestoreSite {
  readonly server: FakeSqlServer
  readonly folder: string
  /** For the options of a verb: remembers what it warns of. */
  readonly onEvent: (event: BackupEvent) => void
  readonly warnings: readonly string[]
  plan(options?: Partial<MssqlOptions>): BackupPlan
  /** Commits a row. */
  insert(title: string, database?: string): void
  backup(kind: BackupKind): Promise<void>
  files(): Promise<string[]>
  /** `name: state, access` of all databases. */
  databases(): string[]
  /** What a prune says that it put right. */
  prune(): Promise<readonly string[]>
  destroy(): Promise<void>
}

export async function restoreSite(options: Partial<FakeSqlServerOptions> = {}): Promise<RestoreSite> {
  const folder = await mkdtemp(join(tmpdir(), 'mssql-restore-'))
  const server = await startFakeSqlServer({
    directory: folder,
    serverDirectory: SERVER_DIRECTORY,
    password: 'secret',
    ...options,
  })
  server.createDatabase(LIVE)
  const destination = memory()
  const warnings: string[] = []
  const plan = (more: Partial<MssqlOptions> = {}) =>
    defineBackupPlan({
      name: 'tasks',
      adapter: mssql({
        connection: server.config,
        database: LIVE,
        transfer: { type: 'shared-folder', serverDirectory: SERVER_DIRECTORY, localDirectory: folder },
        ...more,
      }),
      destinations: [destination],
    })
  return {
    server,
    folder,
    onEvent: (event) => {
      if (event.type === 'warning') warnings.push(event.message)
    },
    warnings,
    plan,
    insert: (title, database = LIVE) => server.insert(database, { title }),
    backup: async (kind) => void (await createBackup(plan(), { kind })),
    files: async () => (await readdir(folder)).sort(),
    databases: () => server.databases().map(({ name, state, access }) => `${name}: ${state}, ${access}`),
    prune: async () => (await pruneBackups(plan())).restoreLeftovers,
    async destroy() {
      await server.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
