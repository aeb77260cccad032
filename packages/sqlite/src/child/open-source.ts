import { accessSync, closeSync, constants, fstatSync, openSync, realpathSync, statSync } from 'node:fs'
import { BackupError } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { sourceError } from './errors.ts'
import { type DatabaseHeader, HEADER_BYTES, parseHeader } from './header.ts'
import { readAt } from './wal.ts'

/** The second look finds a journal of a living writer by accident only. */
const MOST_ROLLBACKS = 20

/** A database that was found readable, with a connection that holds a read transaction. */
export interface OpenSource {
  /** Absolute path with symbolic links resolved: SQLite puts the log beside the file itself. */
  readonly file: string
  /** Descriptor of the main file for raw reads. Never closed: closing it would drop SQLite's locks in this process. */
  readonly fd: number
  readonly header: DatabaseHeader
  /** Absent when the file lies in a read-only file system, where SQLite cannot open a database in WAL mode. */
  readonly connection: Database.Database | undefined
}

/**
 * Opens a database for reading.
 *
 * @throws `SOURCE_MISSING`, `SOURCE_NOT_DATABASE`, `SOURCE_BUSY`, `SOURCE_UNREADABLE`
 */
export function openSource(path: string, busyTimeoutMs: number): OpenSource {
  try {
    const file = realpathSync(path)
    const found = statSync(file)
    if (!found.isFile()) throw new BackupError('SOURCE_NOT_DATABASE', `${file} is not a file.`)
    if (found.size === 0)
      throw new BackupError('SOURCE_NOT_DATABASE', `${file} is empty: there is no database in it yet.`)
    const fd = openSync(file, 'r')
    const header = parseHeader(readAt(fd, HEADER_BYTES, 0))
    if (typeof header === 'string')
      throw new BackupError('SOURCE_NOT_DATABASE', `${file} is no SQLite database. ${header}`)
    return { file, fd, header, connection: connect(file, header, busyTimeoutMs) }
  } catch (error) {
    throw sourceError(error, path)
  }
}

function connect(file: string, header: DatabaseHeader, timeout: number): Database.Database | undefined {
  try {
    return connectReadOnly(file, timeout)
  } catch (error) {
    const code = (error as { code?: string }).code ?? ''
    if (/^SQLITE_(CANTOPEN|READONLY)/.test(code) && header.wal && isOnReadOnlyFileSystem(file)) {
      refuseUnreadLog(file)
      return undefined
    }
    throw error
  }
}

function connectReadOnly(file: string, timeout: number): Database.Database {
  const connection = new Database(file, { readonly: true, fileMustExist: true, timeout })
  try {
    beginReading(connection, file, timeout)
    return connection
  } catch (error) {
    connection.close()
    throw error
  }
}

/**
 * The first read of a transaction, which is what begins it.
 *
 * A crashed writer's journal has to be rolled back first, which a read-only connection may not do. It may also take a
 * living writer's journal for one: it looks at the journal and at the lock one after the other, and only who may write
 * looks again. So it is not only tried when the database is opened.
 */
export function beginReading(connection: Database.Database, file: string, timeout: number): void {
  for (let attempt = 1; ; attempt++) {
    try {
      connection.prepare('SELECT count(*) FROM sqlite_schema').get()
      return
    } catch (error) {
      const code = (error as { code?: string }).code ?? ''
      const leftByCrash = code === 'SQLITE_READONLY_ROLLBACK' || code === 'SQLITE_READONLY_RECOVERY'
      if (!leftByCrash || attempt === MOST_ROLLBACKS) throw error
      rollBackJournal(file, timeout)
    }
  }
}

function rollBackJournal(file: string, timeout: number): void {
  const writer = new Database(file, { fileMustExist: true, timeout })
  try {
    writer.prepare('SELECT count(*) FROM sqlite_schema').get()
  } finally {
    writer.close()
  }
}

/**
 * Opens the write-ahead log that belongs to `source`; `undefined` when there is none. By its name there may be the log of
 * another database that took the place of the file, after SQLite opened it. The log carries no locks, those are on the -shm
 * and the main file: so it may be closed again.
 *
 * @throws `SOURCE_BUSY` when the file was replaced
 */
export function openLog({ file, fd }: OpenSource): number | undefined {
  const log = openIfThere(`${file}-wal`)
  const [ours, now] = [fstatSync(fd), statSync(file, { throwIfNoEntry: false })]
  if (ours.ino === now?.ino && ours.dev === now.dev) return log
  if (log !== undefined) closeSync(log)
  throw new BackupError('SOURCE_BUSY', `${file} was replaced by another file just now.`, { retryable: true })
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function isOnReadOnlyFileSystem(file: string): boolean {
  try {
    accessSync(file, constants.W_OK)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS'
  }
}

function refuseUnreadLog(file: string): void {
  const log = statSync(`${file}-wal`, { throwIfNoEntry: false })
  if (!log || log.size === 0) return
  throw new BackupError(
    'SOURCE_UNREADABLE',
    `${file} lies in a read-only file system and has an unread write-ahead log.`,
    {
      hint: 'Copy the database together with its -wal file to a writable place, and back it up from there.',
    },
  )
}
