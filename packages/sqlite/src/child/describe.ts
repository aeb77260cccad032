import Database from 'better-sqlite3'
import type { DatabaseFacts } from '../jobs.ts'
import { sourceError } from './errors.ts'
import { beginReading, type OpenSource } from './open-source.ts'

/** What can be told about a database without reading it through. */
export function describeDatabase({ connection, header, file }: OpenSource, busyTimeoutMs: number): DatabaseFacts {
  if (!connection) return describeUnopened(header.pageSize, header.pageCount ?? 0)
  try {
    connection.exec('BEGIN') // one state for all that follows
    beginReading(connection, file, busyTimeoutMs)
    return read(connection)
  } catch (error) {
    throw sourceError(error, file)
  } finally {
    if (connection.inTransaction) connection.exec('ROLLBACK')
  }
}

function read(connection: Database.Database): DatabaseFacts {
  const pragma = (name: string): unknown => connection.pragma(name, { simple: true })
  const { count } = connection
    .prepare(
      "SELECT count(*) AS count FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .get() as { count: number }
  return {
    sqliteVersion: sqliteVersion(connection),
    journalMode: pragma('journal_mode') as string,
    pageSize: pragma('page_size') as number,
    pageCount: pragma('page_count') as number,
    encoding: pragma('encoding') as string,
    autoVacuum: pragma('auto_vacuum') as number,
    userVersion: pragma('user_version') as number,
    applicationId: pragma('application_id') as number,
    tables: count,
  }
}

/** A WAL database in a read-only file system cannot be opened by SQLite: only its header speaks. */
function describeUnopened(pageSize: number, pageCount: number): DatabaseFacts {
  const memory = new Database(':memory:')
  const version = sqliteVersion(memory)
  memory.close()
  const unknown = { encoding: 'unknown', autoVacuum: 0, userVersion: 0, applicationId: 0, tables: 0 }
  return { sqliteVersion: version, journalMode: 'wal', pageSize, pageCount, ...unknown }
}

function sqliteVersion(connection: Database.Database): string {
  return (connection.prepare('SELECT sqlite_version() AS version').get() as { version: string }).version
}
