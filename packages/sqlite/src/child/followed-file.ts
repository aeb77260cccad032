import { accessSync, constants, fstatSync, statSync } from 'node:fs'
import { BackupError } from '@taskflow-backup/core'
import type { DatabaseFacts, SourceSettings } from '../jobs.ts'
import { describeDatabase } from './describe.ts'
import { HEADER_BYTES, parseHeader } from './header.ts'
import { whyNotSinglePass } from './image.ts'
import { LogPins } from './log-pins.ts'
import { type OpenSource, openSource } from './open-source.ts'
import { readAt } from './wal.ts'

/** The database as it is open now. */
export interface Opened {
  readonly source: OpenSource
  /** Which file it is. */
  readonly identity: string
  readonly database: DatabaseFacts
  /** Absent when it is not in WAL mode, or its log cannot be read beside SQLite. */
  readonly pins: LogPins | undefined
}

/** The file that is looked at again and again: opens it, and opens it anew when it is another one. */
export class FollowedFile {
  readonly #settings: SourceSettings
  readonly #follow: boolean
  #opened: Opened | undefined
  #facts: DatabaseFacts | undefined

  /** `follow`: keeps standing on the log between looks. */
  constructor(settings: SourceSettings, follow: boolean) {
    this.#settings = settings
    this.#follow = follow
  }

  get opened(): Opened | undefined {
    return this.#opened
  }

  /**
   * @returns with `changed`, why what was captured before does not tell what is in it now, if that is so
   * @throws `BASE_UNUSABLE` when its pages are not of `pageSize` bytes, `SOURCE_…`
   */
  open(pageSize: number): { readonly opened: Opened; readonly changed?: string } {
    const identity = identityOf(this.#settings.file)
    const before = this.#opened
    if (before && before.identity === identity && !changedMode(before)) return { opened: before }
    const replaced = before !== undefined && before.identity !== identity
    this.close()
    const source = openSource(this.#settings.file, this.#settings.busyTimeoutMs)
    const database = describeDatabase(source, this.#settings.busyTimeoutMs)
    if (database.pageSize !== pageSize) {
      source.connection?.close()
      const message = `${source.file} has pages of ${database.pageSize} bytes now, its last full of ${pageSize}.`
      throw new BackupError('BASE_UNUSABLE', message)
    }
    const opened: Opened = { source, identity: identityOf(source), database, pins: this.#pinsFor(source, database) }
    this.#opened = opened
    this.#facts = database
    if (replaced) return { opened, changed: 'The database file was replaced.' }
    return before ? { opened, changed: 'The journal mode was changed.' } : { opened }
  }

  #pinsFor(source: OpenSource, { journalMode }: DatabaseFacts): LogPins | undefined {
    const { connection, file } = source
    const reason = connection ? whyNotSinglePass(connection, this.#settings) : 'it lies in a read-only file system'
    if (this.#follow) {
      if (reason) throw cannotFollow(file, reason)
      refuseWithoutPermission(file)
    }
    if (reason || journalMode !== 'wal') return undefined
    return new LogPins(source, this.#settings.busyTimeoutMs, this.#follow)
  }

  /** Why an open file has to be compared that has no log to read. */
  whyNoLog({ database, source }: Opened): string {
    if (database.journalMode !== 'wal') return `The database is in ${database.journalMode} journal mode.`
    const reason = source.connection && whyNotSinglePass(source.connection, this.#settings)
    return `The write-ahead log cannot be read: ${reason ?? 'it lies in a read-only file system'}.`
  }

  /** As it is now, or as it was when it was opened last while it is busy or gone; `pageCount` is taken as given. */
  describe(pageCount: number): DatabaseFacts {
    try {
      const { source } = this.#opened as Opened
      return { ...describeDatabase(source, this.#settings.busyTimeoutMs), pageCount }
    } catch {
      return { ...(this.#facts as DatabaseFacts), pageCount }
    }
  }

  /** Lets go of the database without removing its log. */
  close(): void {
    this.#opened?.pins?.close()
    this.#opened?.source.connection?.close()
    this.#opened = undefined
  }
}

/** In WAL mode nobody can change the mode while we stand on the log. */
function changedMode({ pins, source, database }: Opened): boolean {
  if (pins) return false
  const header = parseHeader(readAt(source.fd, HEADER_BYTES, 0))
  return typeof header !== 'string' && header.wal !== (database.journalMode === 'wal')
}

/** Which file this is, under whichever name. Does not open it. */
function identityOf(file: string | OpenSource): string {
  const { dev, ino } =
    typeof file === 'string' ? statSync(file, { bigint: true }) : fstatSync(file.fd, { bigint: true })
  return `${dev}:${ino}`
}

/** Every commit in rollback-journal mode counts the change counter up. */
export function versionOf({ fd }: OpenSource): string {
  const { size, mtimeNs } = fstatSync(fd, { bigint: true })
  return `${readAt(fd, HEADER_BYTES, 0).toString('hex', 24, 28)}:${size}:${mtimeNs}`
}

export const cannotFollow = (file: string, reason: string): BackupError =>
  new BackupError('SOURCE_UNREADABLE', `The log of ${file} cannot be followed: ${reason}.`, {
    hint: 'Make log backups on a schedule instead: they compare every page where the log cannot be read.',
  })

function refuseWithoutPermission(file: string): void {
  try {
    accessSync(file, constants.R_OK | constants.W_OK)
  } catch {
    throw cannotFollow(file, 'this process may not write to it, which it needs to keep the write-ahead log short')
  }
}
