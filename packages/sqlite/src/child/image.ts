import { randomBytes } from 'node:crypto'
import { openSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { BackupError, FRAME_BYTES, makeOwnedFolder, toBackupError } from '@taskflow-backup/core'
import type Database from 'better-sqlite3'
import type { LogMark } from '../changes/format.ts'
import type { ImageMethod, SourceSettings } from '../jobs.ts'
import { COPY_PREFIX } from '../places.ts'
import { sourceError } from './errors.ts'
import { HEADER_BYTES, parseHeader } from './header.ts'
import type { OpenSource } from './open-source.ts'
import { type Snapshot, takeSnapshot, takeStaticCopy } from './snapshot.ts'
import { openSpool, type Spool } from './spool.ts'
import { readAt } from './wal.ts'
import { isNoRoom } from './write-file.ts'

/** A log that has grown by this much since the pin is let go. */
const LOG_GROWTH_BYTES = 256 * 1024 * 1024
/** For SQLite's online backup: more pages than any database has, so that it is one step and sees one state. */
const ALL_PAGES = 0x7fffffff
/**
 * A database in rollback-journal mode up to this size is read under its lock directly: so many frames are always in
 * flight, so that it is let go before the first of them has to be taken by the destination.
 */
const SMALL_BYTES = 3 * FRAME_BYTES

/** An image of a database, ready to be read once. */
export interface Image {
  readonly method: ImageMethod
  readonly pageSize: number
  readonly pageCount: number
  readonly journalMode: string
  readonly consistentAt: Date
  readonly mark: string
  readonly logMark?: LogMark
  /** What a person should know; complete once `chunks` has ended. */
  readonly notes: readonly string[]
  /** Pieces of 2 MiB, the last one shorter. `maySpool: false` for whoever takes them at the speed of the disk. */
  chunks(options?: { readonly maySpool?: boolean }): AsyncGenerator<Buffer>
}

/** Chooses how `source` can be read soundly, and begins. */
export async function openImage(source: OpenSource, settings: SourceSettings): Promise<Image> {
  try {
    if (!source.connection) {
      const notes = ['The file lies in a read-only file system: it was copied as it is.']
      return imageOf(takeStaticCopy(source), 'static-copy', source, settings, notes)
    }
    const reason = whyNotSinglePass(source.connection, settings)
    if (reason) return await onlineBackup(source, source.connection, settings, reason)
    try {
      return imageOf(
        takeSnapshot(source, source.connection, settings.busyTimeoutMs),
        'single-pass',
        source,
        settings,
        [],
      )
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'SQLITE_READONLY') throw error
      source.connection.exec('ROLLBACK')
      const why = 'this process may only read, and SQLite tells the commit mark to those who may write'
      return await onlineBackup(source, source.connection, settings, why)
    }
  } catch (error) {
    throw sourceError(error, source.file)
  }
}

/** Where reading the file beside SQLite is not known to be sound, and why. */
export function whyNotSinglePass(
  connection: Database.Database,
  { forceOnlineBackup }: SourceSettings,
): string | undefined {
  if (forceOnlineBackup) return "the option `image` is 'online-backup'"
  if (process.platform === 'win32') return 'locks on Windows keep other handles from reading'
  const { version } = connection.prepare('SELECT sqlite_version() AS version').get() as { version: string }
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major === 3 && minor < 51) return `SQLite ${version} cannot tell the commit mark without a checkpoint`
  return undefined
}

function imageOf(
  snapshot: Snapshot,
  method: ImageMethod,
  source: OpenSource,
  settings: SourceSettings,
  notes: string[],
): Image {
  const { pageSize, pageCount, journalMode, consistentAt, mark, logMark } = snapshot
  return {
    method,
    pageSize,
    pageCount,
    journalMode,
    consistentAt,
    mark,
    ...(logMark && { logMark }),
    notes,
    async *chunks({ maySpool = true } = {}) {
      const holding = new Holding(snapshot, source, settings, notes, maySpool)
      try {
        const total = pageSize * pageCount
        for (let at = 0; at < total; at += FRAME_BYTES) {
          yield holding.read(at, Math.min(FRAME_BYTES, total - at))
          await setImmediate() // lets finished frames go out and an abort come in
        }
      } catch (error) {
        throw sourceError(error, source.file)
      } finally {
        holding.end()
      }
    },
  }
}

/**
 * Decides how long a snapshot is held. In write-ahead-log mode it harms nobody but lets the log grow; in
 * rollback-journal mode it keeps writers waiting. When it has been held for long enough, what is left goes to a
 * temporary file at the speed of the disk, and the snapshot is released.
 */
class Holding {
  readonly #snapshot: Snapshot
  readonly #source: OpenSource
  readonly #settings: SourceSettings
  readonly #notes: string[]
  readonly #blocksWriters: boolean
  readonly #sinceMs = performance.now()
  readonly #logBytes: number
  #spool: { file: Spool; from: number } | undefined
  #maySpool: boolean
  #released = false

  constructor(snapshot: Snapshot, source: OpenSource, settings: SourceSettings, notes: string[], maySpool: boolean) {
    this.#snapshot = snapshot
    this.#source = source
    this.#settings = settings
    this.#notes = notes
    this.#blocksWriters = source.connection !== undefined && snapshot.journalMode !== 'wal'
    this.#logBytes = snapshot.logBytes()
    this.#maySpool = maySpool && source.connection !== undefined // a copy keeps nobody waiting
  }

  get #heldMs(): number {
    return Math.round(performance.now() - this.#sinceMs)
  }

  read(at: number, length: number): Buffer {
    if (!this.#spool && this.#maySpool && this.#isHeldTooLong()) this.#spoolFrom(at)
    if (this.#spool) return this.#spool.file.read(at - this.#spool.from, length)
    return this.#readHeld(at, length)
  }

  #readHeld(at: number, length: number): Buffer {
    const { pageSize } = this.#snapshot
    if (this.#blocksWriters && this.#heldMs > this.#settings.maxWriterBlockMs) {
      const file = this.#source.file
      throw new BackupError(
        'SOURCE_BUSY',
        `${file}: writers were kept waiting for ${this.#heldMs} ms, which is the limit.`,
        {
          retryable: true,
          hint: 'Use WAL mode (PRAGMA journal_mode=WAL), where a backup keeps nobody waiting, or raise `maxWriterBlockMs`.',
        },
      )
    }
    return this.#snapshot.readPages(at / pageSize + 1, length / pageSize)
  }

  #isHeldTooLong(): boolean {
    const { pageSize, pageCount } = this.#snapshot
    if (this.#blocksWriters) return pageSize * pageCount > SMALL_BYTES
    return this.#heldMs > this.#settings.releaseAfterMs || this.#snapshot.logBytes() - this.#logBytes > LOG_GROWTH_BYTES
  }

  #spoolFrom(from: number): void {
    const { pageSize, pageCount } = this.#snapshot
    const total = pageSize * pageCount
    const file = openSpool(this.#settings.temporaryDirectory, total - from)
    if (!file) {
      this.#goWithoutSpool()
      return
    }
    try {
      for (let at = from; at < total; at += FRAME_BYTES) {
        file.append(this.#readHeld(at, Math.min(FRAME_BYTES, total - at)))
      }
    } catch (error) {
      file.close()
      if (!isNoRoom(error)) throw error
      this.#goWithoutSpool()
      return
    }
    this.#spool = { file, from }
    if (!this.#blocksWriters) {
      this.#notes.push(
        'The destination was slow: the rest of the image was read from a temporary copy, so that the write-ahead log could shrink.',
      )
    }
    this.#release()
  }

  #goWithoutSpool(): void {
    this.#maySpool = false
    const folder = this.#settings.temporaryDirectory
    this.#notes.push(`${folder} had no room for a temporary copy, so the database was held for the whole backup.`)
  }

  #release(): void {
    if (this.#released) return
    this.#released = true
    this.#snapshot.release()
    if (this.#blocksWriters) {
      this.#notes.push(
        `The database is in ${this.#snapshot.journalMode} journal mode: writers had to wait for ${this.#heldMs} ms.`,
      )
    }
  }

  end(): void {
    this.#release()
    this.#spool?.file.close()
  }
}

/** SQLite's own online backup, all pages in one step, into a temporary file that is unlinked as soon as it is read from. */
async function onlineBackup(
  source: OpenSource,
  connection: Database.Database,
  settings: SourceSettings,
  reason: string,
): Promise<Image> {
  const folder = await makeCopyFolder(settings.temporaryDirectory)
  try {
    const startedMs = performance.now()
    const copy = join(folder, 'copy.db')
    await connection.backup(copy, { progress: () => ALL_PAGES })
    const consistentAt = new Date() // not before: what was committed while it began is in it
    const notes = [
      `Made with SQLite's online backup in ${Math.round(performance.now() - startedMs)} ms, because ${reason}.`,
    ]
    const fd = openSync(copy, 'r')
    const header = parseHeader(readAt(fd, HEADER_BYTES, 0))
    if (typeof header === 'string')
      throw new BackupError('SOURCE_UNREADABLE', `The copy of ${source.file} is no database. ${header}`)
    const journalMode = connection.pragma('journal_mode', { simple: true }) as string
    connection.close()
    const snapshot = takeStaticCopy({ file: copy, fd, header, connection: undefined })
    const copied = { ...snapshot, journalMode, consistentAt }
    return imageOf(copied, 'online-backup', { ...source, connection: undefined }, settings, notes)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function makeCopyFolder(temporaryDirectory: string): Promise<string> {
  const folder = join(temporaryDirectory, COPY_PREFIX + randomBytes(8).toString('hex'))
  try {
    await makeOwnedFolder(folder)
    return folder
  } catch (error) {
    const { message, hint } = toBackupError(error, 'SOURCE_UNREADABLE', 'Cannot make a folder')
    throw new BackupError('SOURCE_UNREADABLE', `There is no place for a temporary copy. ${message}`, {
      cause: error,
      hint,
    })
  }
}
