import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type sql from 'mssql'
import { dropDatabaseStatement, singleUserStatement } from '../../src/statements/database.ts'
import type { Device } from '../../src/statements/devices.ts'
import { DATABASES_LIKE, type DatabaseRow, likePrefix } from '../../src/statements/queries/databases.ts'
import { type Client, connectTo } from './engine/client.ts'
import { readMedia } from './engine/media.ts'
import { startFakeSqlServer } from './engine/server.ts'

/** A SQL Server with a folder that it shares with this process; what it runs in is its own matter. */
export interface ServerUnderTest {
  /** Of `sa`. */
  readonly config: sql.config & { readonly password: string }
  readonly folder: { readonly serverDirectory: string; readonly localDirectory: string; readonly fileMode: number }
  /** How much it takes for a backup that can be interrupted. */
  readonly slowBackupBytes: number
  /** As `sa`, in `master`. */
  readonly client: Client
  /** With the full recovery model, one row, and at least so many bytes of no meaning. */
  createDatabase(name: string, ballastBytes?: number): Promise<void>
  /** Commits a row. */
  insert(database: string, title: string): Promise<void>
  /** Commits a row in a transaction WITH MARK. */
  insertMarked(database: string, mark: string, title: string): Promise<void>
  /** The titles of all rows in their order. Rejects when the database is not there or not online. */
  titles(database: string): Promise<string[]>
  /** A login that may back up one database, and nothing else. */
  addBackupOperator(database: string, login: string, password: string): Promise<void>
  /** Damages data so that backups of it succeed and DBCC CHECKDB finds it. */
  corrupt(database: string): Promise<void>
  /** Lets the next BACKUP DATABASE fail in the middle. */
  breakBackup(database: string): Promise<void>
  /** What RESTORE HEADERONLY says, with numbers as decimal text. */
  header(device: Device): Promise<BackupHeaderRow>
  /** Application locks that are held. */
  locks(): Promise<readonly string[]>
  destroy(): Promise<void>
}

/** A row of RESTORE HEADERONLY, as far as it is used. */
export interface BackupHeaderRow {
  readonly DatabaseName: string
  readonly FirstLSN: string
  readonly LastLSN: string
  readonly CheckpointLSN: string
  readonly DatabaseBackupLSN: string
}

/** The row that a new database has. */
export const FIRST_TITLE = 'the first'

/** East of Greenwich: local times that are taken for UTC, or the other way round, are found. */
export const TIME_ZONE = { name: 'Asia/Kolkata', offsetMinutes: 330 }

/** The fake SQL Server of these tests, with the rows of a real one. */
export async function fakeServer(): Promise<ServerUnderTest> {
  const folder = await mkdtemp(join(tmpdir(), 'mssql-fake-'))
  const serverDirectory = '/var/opt/mssql/backup'
  const password = 'Pässw0rd; "x"'
  const server = await startFakeSqlServer({
    directory: folder,
    serverDirectory,
    password,
    timeZoneOffsetMinutes: TIME_ZONE.offsetMinutes,
  })
  const client = await connectTo(server, { password })
  const { engine } = server
  return {
    config: { ...server.config, password },
    folder: { serverDirectory, localDirectory: folder, fileMode: 0o640 },
    slowBackupBytes: 3_000_000,
    client,
    async createDatabase(name, ballastBytes = 0) {
      server.createDatabase(name, { paddingBytes: ballastBytes })
      server.insert(name, FIRST_TITLE)
    },
    insert: async (database, title) => server.insert(database, title),
    insertMarked: async (database, mark, title) => server.mark(database, mark, title),
    titles: async (database) => server.rows(database) as string[],
    async addBackupOperator(_, login, secret) {
      server.addLogin(login, { password: secret, permissions: ['BACKUP DATABASE', 'BACKUP LOG'] })
    },
    async corrupt(name) {
      const database = engine.databases.find(name)
      if (database) database.damaged = true
    },
    breakBackup: async () => server.fail(/^BACKUP DATABASE/, 'drop', { at: 'middle' }),
    async header(device) {
      const { header } = readMedia([device], engine.disk)
      return {
        DatabaseName: header.database,
        FirstLSN: String(header.firstLsn),
        LastLSN: String(header.lastLsn),
        CheckpointLSN: String(header.checkpointLsn),
        DatabaseBackupLSN: String(header.databaseBackupLsn),
      }
    },
    locks: async () => engine.sessions.locks,
    async destroy() {
      await client.close()
      await server.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The databases of which the names begin so. */
export const databasesOf = ({ client }: ServerUnderTest, prefix: string): Promise<DatabaseRow[]> =>
  client.rows<DatabaseRow>(DATABASES_LIKE, { pattern: likePrefix(prefix) })

/** Drops the databases of which the names begin so, whoever uses them. */
export async function dropDatabases(server: ServerUnderTest, prefix: string): Promise<void> {
  for (const { name, state } of await databasesOf(server, prefix)) {
    if (state === 'ONLINE') await server.client.must(singleUserStatement(name, 'rollback'))
    await server.client.must(dropDatabaseStatement(name))
  }
}

/** A server notices a moment later that a client is gone. */
export async function locksLeft(server: ServerUnderTest): Promise<readonly string[]> {
  for (let round = 0; round < 6000; round++) {
    if ((await server.locks()).length === 0) return []
    await sleep(10)
  }
  return server.locks()
}
