import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BackupAdapter,
  type BackupPlan,
  type BackupPlanOptions,
  defineBackupPlan,
  directory,
} from '@taskflow-backup/core'
import type pg from 'pg'
import { type PostgresOptions, postgres } from '../../src/index.ts'
import { clientPrograms, whyNoServer } from './programs.ts'
import { TestServer } from './server.ts'

/** The programs that are installed dump servers up to their own version; this one is among the packages. */
const LOGICAL_VERSION = 15

/** Why logical backups cannot be tried here; `undefined` when they can. */
export function whyNoLogical(): string | undefined {
  const programs = clientPrograms()
  if (!programs || programs.version < LOGICAL_VERSION)
    return `there are no client programs of PostgreSQL ${LOGICAL_VERSION} or newer`
  return whyNoServer(LOGICAL_VERSION)
}

/** A server that the tests of one file share: each has databases of its own, told apart by the begin of their names. */
export const startSharedServer = (settings: { readonly [name: string]: string | number } = {}): Promise<TestServer> =>
  TestServer.start(LOGICAL_VERSION, { settings: { fsync: 'off', ...settings } })

/** Databases and folders of one test. */
export class Databases {
  readonly server: TestServer
  /** Begin of the names of all databases of this test. */
  readonly prefix: string
  /** The live database. */
  readonly live: string
  readonly folder: string
  readonly temporary: string

  private constructor(server: TestServer, folder: string, live: string) {
    this.server = server
    this.prefix = `t${randomBytes(4).toString('hex')}`
    this.live = `${this.prefix}${live}`
    this.folder = folder
    this.temporary = join(folder, 'temporary')
  }

  static async make(server: TestServer, { name = '_live', sql = '' } = {}): Promise<Databases> {
    const folder = await mkdtemp(join(tmpdir(), 'taskflow-logical-'))
    const databases = new Databases(server, folder, name)
    await mkdir(databases.temporary)
    await server.sql(`CREATE DATABASE ${quoted(databases.live)}`)
    if (sql !== '') await databases.sql(sql)
    return databases
  }

  adapter(options: Partial<PostgresOptions> = {}): BackupAdapter {
    return postgres({
      connection: this.server.connection({ database: this.live }),
      clientPrograms: clientPrograms()?.folder as string,
      ...options,
    })
  }

  plan({
    postgres: options,
    ...rest
  }: Partial<BackupPlanOptions> & { readonly postgres?: Partial<PostgresOptions> } = {}): BackupPlan {
    return defineBackupPlan({
      name: 'tasks',
      adapter: this.adapter(options),
      destinations: [directory(join(this.folder, 'backups'))],
      temporaryDirectory: this.temporary,
      ...rest,
    })
  }

  sql<Row extends pg.QueryResultRow = pg.QueryResultRow>(text: string, database = this.live): Promise<Row[]> {
    return this.server.sql<Row>(text, [], database)
  }

  async rows(text: string, database = this.live): Promise<unknown[]> {
    return (await this.sql(text, database)).map((row) => Object.values(row))
  }

  /** Names of the databases of this test, without their common begin. */
  async list(): Promise<string[]> {
    const rows = await this.server.sql<{ datname: string }>('SELECT datname FROM pg_database ORDER BY 1')
    return rows
      .map(({ datname }) => datname)
      .filter((name) => name.startsWith(this.prefix))
      .map((name) => name.slice(this.prefix.length))
  }

  /** Databases that are neither live, nor kept for undo, nor restored to a place of their own. */
  async staged(): Promise<string[]> {
    return (await this.list()).filter((name) => name.includes('_restoring_'))
  }

  /** Sessions of programs of this library on databases of this test. */
  async sessions(): Promise<unknown[]> {
    return this.server.sql(
      `SELECT datname, application_name, state, query FROM pg_stat_activity
       WHERE application_name LIKE 'taskflow-backup%' AND starts_with(datname, $1)`,
      [this.prefix],
    )
  }

  async destroy(): Promise<void> {
    for (const name of await this.list().catch((): string[] => []))
      await this.server.sql(`DROP DATABASE IF EXISTS ${quoted(this.prefix + name)} WITH (FORCE)`)
    await rm(this.folder, { recursive: true, force: true })
  }
}

export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`
