import type sql from 'mssql'
import { startTdsServer, type TdsSession } from '../tds/server.ts'
import type { Certificate } from '../tds/tls.ts'
import { ServerClock } from './clock.ts'
import type { Database } from './database.ts'
import type { NewDatabase } from './databases.ts'
import { Disk } from './disk.ts'
import { Engine, type ServerFacts } from './engine.ts'
import type { Fault, FaultOptions } from './faults.ts'
import type { LoginAccount } from './sessions.ts'

export interface FakeSqlServerOptions {
  /** Where its backups really are. Made if missing; not removed. */
  readonly directory: string
  /** How the server calls that folder, such as `D:\Backup`. Default: as it is really called. */
  readonly serverDirectory?: string
  /** Of the login `sa`. */
  readonly password: string
  /** Default: `16.0.4135.4`. */
  readonly version?: string
  /** Default: `developer`. */
  readonly edition?: keyof typeof EDITIONS
  /** East of Greenwich is positive. Default: 0. */
  readonly timeZoneOffsetMinutes?: number
  /** Clients must talk TLS. */
  readonly tls?: Certificate
}

export interface FakeSqlServer {
  readonly port: number
  /** For `mssql`, as `sa`. Trusts the server's certificate when it has one. */
  readonly config: sql.config
  readonly engine: Engine
  readonly clock: ServerClock
  readonly sessions: readonly TdsSession[]
  createDatabase(name: string, options?: NewDatabase): Database
  /** Commits a row: anything that JSON can hold. */
  insert(database: string, row: unknown): void
  /** All rows. @throws when the database is not there or not online */
  rows(database: string): unknown[]
  /** Commits a row in a transaction WITH MARK. */
  mark(database: string, name: string, row: unknown): void
  databases(): { readonly name: string; readonly state: string; readonly access: string }[]
  /** What happens to statements that match. A text is compared as it is, with white space made one. */
  fail(pattern: RegExp | string, fault: Fault, options?: FaultOptions): void
  addLogin(name: string, account: LoginAccount): void
  /** All statements that came. */
  statements(): string[]
  close(): Promise<void>
}

const EDITIONS = {
  developer: { edition: 'Developer Edition (64-bit)', engineEdition: 3 },
  standard: { edition: 'Standard Edition (64-bit)', engineEdition: 2 },
  express: { edition: 'Express Edition (64-bit)', engineEdition: 4 },
  'azure-sql': { edition: 'SQL Azure', engineEdition: 5 },
} as const

/** A TDS server on a free port of 127.0.0.1 that behaves like SQL Server as far as backups go. */
export async function startFakeSqlServer(options: FakeSqlServerOptions): Promise<FakeSqlServer> {
  const { directory, serverDirectory = directory, password, tls } = options
  const clock = new ServerClock(options.timeZoneOffsetMinutes ?? 0)
  const disk = new Disk({ directory, serverDirectory })
  disk.makeFolder()
  const engine = new Engine(factsOf(options, serverDirectory), clock, disk)
  engine.sessions.accounts.set('sa', { password, roles: ['sysadmin'] })
  const server = await startTdsServer(engine, { ...(tls && { tls }) })
  const databaseOf = (name: string): Database => {
    const database = engine.databases.find(name)
    if (!database) throw new Error(`the fake SQL Server has no database ${name}`)
    return database
  }
  return {
    port: server.port,
    config: {
      server: '127.0.0.1',
      port: server.port,
      user: 'sa',
      password,
      options: { encrypt: tls !== undefined, trustServerCertificate: tls !== undefined },
    },
    engine,
    clock,
    get sessions() {
      return server.sessions
    },
    createDatabase: (name, given) => engine.databases.create(name, given),
    insert: (name, row) => databaseOf(name).insert(row, clock.localMs),
    rows(name) {
      const database = databaseOf(name)
      if (database.state !== 'ONLINE') throw new Error(`${name} is ${database.state}`)
      return database.rows()
    },
    mark(name, mark, row) {
      const at = clock.localMs
      engine.history.marks.push({ database: name, mark, lsn: databaseOf(name).mark(mark, row, at), at })
    },
    databases: () => engine.databases.all.map(({ name, state, access }) => ({ name, state, access })),
    fail: (pattern, fault, faultOptions = {}) => engine.faults.plan(pattern, fault, faultOptions),
    addLogin: (name, account) => void engine.sessions.accounts.set(name.toLowerCase(), account),
    statements: () => engine.log.map(({ text }) => text),
    close: () => server.close(),
  }
}

function factsOf(
  { version = '16.0.4135.4', edition = 'developer' }: FakeSqlServerOptions,
  serverDirectory: string,
): ServerFacts {
  const isWindows = /^[a-z]:|^\\\\/i.test(serverDirectory)
  const data = isWindows ? 'C:\\SQL\\DATA\\' : '/var/opt/mssql/data/'
  return {
    ...EDITIONS[edition],
    version,
    serverName: 'FAKESQL',
    platform: isWindows ? 'Windows' : 'Linux',
    dataPath: data,
    logPath: data,
    backupPath: serverDirectory,
  }
}
