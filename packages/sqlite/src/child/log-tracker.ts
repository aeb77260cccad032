import { accessSync, constants, fstatSync, statSync } from 'node:fs'
import { BackupError } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import type { LogMark } from '../changes/format.ts'
import type { DatabaseFacts, SourceSettings } from '../jobs.ts'
import { Captured, type Start } from './captured.ts'
import type { CaptureClock } from './clock.ts'
import { compareImage } from './compare.ts'
import { describeDatabase } from './describe.ts'
import { sourceError } from './errors.ts'
import { HEADER_BYTES, parseHeader } from './header.ts'
import { openImage, whyNotSinglePass } from './image.ts'
import { LogPins, type LogView } from './log-pins.ts'
import { type OpenSource, openSource } from './open-source.ts'
import { FRAME_HEADER_BYTES, readAt } from './wal.ts'
import { beginOf, carries, KEPT_BYTES, verifyFrames } from './wal-frames.ts'

const MEGABYTE = 1024 * 1024
/** In rollback-journal mode every look reads the whole database: it rests for so many times as long as that took. */
const REST_FACTOR = 20
/** A seal that others prevented is tried again when the log has grown by so much, or after so long. */
const SEAL_GROWTH = 1.25
const SEAL_AGAIN_MS = 10_000

/** Bounds of what is captured; tests have smaller ones. */
export interface TrackerLimits {
  /** A log with more committed bytes is brought to begin anew. */
  readonly sealBytes: number
  /** Longest time for which a seal tries to get a moment without a writer, while which it keeps others waiting. */
  readonly sealWaitMs: number
  /** More than this does not wait for a backup: it is dropped, and compared later. */
  readonly pendingBytes: number
  readonly historyBytes?: number
}

const LIMITS: TrackerLimits = { sealBytes: 16 * MEGABYTE, sealWaitMs: 300, pendingBytes: 1024 * MEGABYTE }

export interface TrackerOptions {
  readonly settings: SourceSettings
  readonly clock: CaptureClock
  /** Keeps standing on the log between looks; without it there is one look only. */
  readonly follow: boolean
  readonly limits?: Partial<TrackerLimits>
}

/** The database as it is open now. */
interface Opened {
  readonly source: OpenSource
  /** Which file it is. */
  readonly identity: string
  readonly database: DatabaseFacts
  /** Absent when it is not in WAL mode, or its log cannot be read beside SQLite. */
  readonly pins: LogPins | undefined
}

/**
 * Captures what is committed to one database, look by look, without ever missing something silently: from the frames of
 * the write-ahead log where they provably go on, else by comparing every page.
 */
export class LogTracker {
  readonly #settings: SourceSettings
  readonly #clock: CaptureClock
  readonly #follow: boolean
  readonly #limits: TrackerLimits
  #captured: Captured
  #opened: Opened | undefined
  #mark: LogMark | undefined
  /** Whether somebody of ours has stood on the log since `#mark`. */
  #held = false
  /** Why the next look has to compare. */
  #mustCompare: string | undefined
  /** In rollback-journal mode: what the file was at the last comparison, and when the next one may be. */
  #compared: { readonly version: string; readonly restUntilMs: number } | undefined
  /** Of a comparison that found more than may wait: otherwise it would be dropped and made again without end. */
  #comparedBytes = 0
  #sealAgain: { readonly bytes: number; readonly atMs: number } | undefined
  #logBytes = 0
  #notes: string[] = []

  constructor(base: Start, { settings, clock, follow, limits }: TrackerOptions) {
    this.#settings = settings
    this.#clock = clock
    this.#follow = follow
    this.#limits = { ...LIMITS, ...limits }
    this.#mark = base.mark
    this.#captured = new Captured(base, settings.temporaryDirectory, this.#limits.historyBytes)
  }

  get captured(): Captured {
    return this.#captured
  }

  /** Committed bytes in the write-ahead log at the last look. */
  get logBytes(): number {
    return this.#logBytes
  }

  /** Milliseconds since 1970. */
  get now(): number {
    return this.#clock.now()
  }

  /** What a person should know about the last comparison. */
  get notes(): readonly string[] {
    return this.#notes
  }

  /** Bytes of the log's file now, without opening anything. */
  logFileBytes(): number {
    const { source } = this.#opened ?? {}
    return source ? (statSync(`${source.file}-wal`, { throwIfNoEntry: false })?.size ?? 0) : 0
  }

  database(): DatabaseFacts {
    const { database, source } = this.#opened as Opened
    const { pageCount } = this.#captured.table
    try {
      return { ...describeDatabase(source, this.#settings.busyTimeoutMs), pageCount }
    } catch {
      return { ...database, pageCount } // busy just now
    }
  }

  /**
   * Captures everything that was committed until now. Without WAL mode only what it can without reading the database too
   * often, unless it is `urgent`.
   *
   * @throws `BASE_UNUSABLE` when the chain cannot be continued; `SOURCE_…`; then what was captured before is still there
   */
  async look({ urgent = false } = {}): Promise<void> {
    try {
      const opened = this.#open()
      const reason = opened.pins ? this.#lookAtLog(opened.pins) : this.#lookAtFile(opened, urgent)
      if (reason !== undefined) await this.#compare(reason)
      if (opened.pins && this.#follow) this.#sealWhenDue(opened.pins)
    } catch (error) {
      throw sourceError(error, this.#settings.file)
    }
    if (this.#captured.pendingBytes > Math.max(this.#limits.pendingBytes, 2 * this.#comparedBytes))
      this.drop('More was waiting for the destination than is kept.')
  }

  /** Forgets what waits for a backup; the next look compares, and what is in between becomes a gap. */
  drop(reason: string): void {
    this.#captured.drop()
    this.#mustCompare = reason
    this.#compared = undefined
  }

  /** From now on what is captured continues another full. @throws `BASE_UNUSABLE` */
  continueFrom(base: Start): void {
    this.#clock.atLeast(base.notBefore)
    if (this.#captured.continueFrom(base)) return
    this.#captured.clear()
    this.#captured = new Captured(base, this.#settings.temporaryDirectory, this.#limits.historyBytes)
    this.#mark = base.mark
    this.#held = false
    this.#mustCompare = undefined
    this.#compared = undefined
  }

  /** Lets go of the database without removing its log; for tests, a child process just ends. */
  close(): void {
    this.#opened?.pins?.close()
    this.#opened?.source.connection?.close()
    this.#opened = undefined
    this.#held = false
  }

  #open(): Opened {
    const identity = identityOf(this.#settings.file)
    const before = this.#opened
    if (before && before.identity === identity && !this.#changedMode(before)) return before
    const replaced = before !== undefined && before.identity !== identity
    this.close()
    const source = openSource(this.#settings.file, this.#settings.busyTimeoutMs)
    const database = describeDatabase(source, this.#settings.busyTimeoutMs)
    const { pageSize } = this.#captured.table
    if (database.pageSize !== pageSize) {
      source.connection?.close()
      const message = `${source.file} has pages of ${database.pageSize} bytes now, its last full of ${pageSize}.`
      throw new BackupError('BASE_UNUSABLE', message)
    }
    const opened: Opened = { source, identity: identityOf(source), database, pins: this.#pinsFor(source, database) }
    this.#opened = opened
    if (replaced) this.#mustCompare ??= 'The database file was replaced.'
    else if (before) this.#mustCompare ??= 'The journal mode was changed.'
    return opened
  }

  /** In WAL mode nobody can change the mode while we stand on the log. */
  #changedMode({ pins, source, database }: Opened): boolean {
    if (pins) return false
    const header = parseHeader(readAt(source.fd, HEADER_BYTES, 0))
    return typeof header !== 'string' && header.wal !== (database.journalMode === 'wal')
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

  /** @returns why it has to be compared, if it has */
  #lookAtLog(pins: LogPins): string | undefined {
    if (this.#mustCompare !== undefined) return this.#mustCompare
    const lookedAt = this.#clock.now()
    pins.pinNext()
    let view: LogView
    try {
      view = pins.view()
    } catch (error) {
      // Without the right to write, SQLite does not tell the mark.
      if (!this.#follow && (error as { code?: unknown }).code === 'SQLITE_READONLY')
        return 'The write-ahead log cannot be read.'
      throw error
    }
    const capturedAt = this.#clock.now()
    const reason = this.#capture(view, lookedAt, capturedAt)
    if (reason !== undefined) return reason
    pins.dropOld()
    this.#held = true
    return undefined
  }

  #capture({ frames, backfilled, log }: LogView, lookedAt: number, capturedAt: number): string | undefined {
    const before = this.#captured.table.state
    const { pageSize } = this.#captured.table
    this.#logBytes = frames * (FRAME_HEADER_BYTES + pageSize)
    if (!log) {
      // Emptied by a checkpoint, which cannot pass by us.
      if (!this.#held) return NOT_HELD
      this.#endEmpty(lookedAt, capturedAt)
      return undefined
    }
    const begin = beginOf(log.header)
    const goesOn = this.#mark?.salts === begin.salts
    if (!goesOn && !this.#held) return this.#mark ? NOT_HELD : NO_MARK
    const from = goesOn ? (this.#mark as LogMark) : begin
    if (frames < from.frame) return CHANGED
    // While somebody of ours stands on the log, it needs no proof; and when all of it was captured and is in the main
    // file, a writer may begin it anew just now.
    if (!this.#held && !carries(log.fd, log.header, from, pageSize)) return CHANGED
    // Nobody stood on the log before, and all of it is in the main file: a writer may begin it anew at any time.
    const isFirm = this.#held || frames > backfilled || (frames - from.frame) * pageSize <= KEPT_BYTES
    if (!isFirm) return NOT_HELD
    if (frames === from.frame) {
      this.#mark = from
      this.#endEmpty(lookedAt, capturedAt)
      return undefined
    }
    const verified = verifyFrames(log.fd, log.header, from, frames, pageSize)
    if (typeof verified === 'string') return verified
    this.#keepOrDrop(() => {
      verified.visit(this.#captured.visitor)
      this.#captured.endStep(before, { lookedAt, capturedAt, how: 'log', mark: verified.mark })
    })
    this.#mark = verified.mark
    return undefined
  }

  #endEmpty(lookedAt: number, capturedAt: number): void {
    const mark = this.#mark
    this.#captured.endStep(this.#captured.table.state, { lookedAt, capturedAt, how: 'log', ...(mark && { mark }) })
  }

  /** What was begun to be stored and could not be, cannot stay half done. */
  #keepOrDrop(store: () => void): void {
    try {
      store()
    } catch (error) {
      this.drop('What was captured could not be kept.')
      throw error
    }
  }

  /** In rollback-journal mode there is nothing but the file: compared when it changed, and not all the time. */
  #lookAtFile({ source }: Opened, urgent: boolean): string | undefined {
    if (!this.#follow || this.#mustCompare !== undefined) return this.#mustCompare ?? this.#whyNoLog()
    const version = versionOf(source)
    if (this.#compared?.version === version) {
      const now = this.#clock.now()
      this.#endEmpty(now, now)
      return undefined
    }
    if (!urgent && this.#compared && performance.now() < this.#compared.restUntilMs) return undefined
    return this.#whyNoLog()
  }

  #whyNoLog(): string {
    const { database, source } = this.#opened as Opened
    if (database.journalMode !== 'wal') return `The database is in ${database.journalMode} journal mode.`
    const reason = source.connection && whyNotSinglePass(source.connection, this.#settings)
    return `The write-ahead log cannot be read: ${reason ?? 'it lies in a read-only file system'}.`
  }

  /** Sound whatever happened. A connection of ours stands on the log before the image's lets go of it. */
  async #compare(reason: string): Promise<void> {
    const { source, pins } = this.#opened as Opened
    const startedMs = performance.now()
    const before = this.#captured.table.state
    const version = pins ? '' : versionOf(source)
    const lookedAt = this.#clock.now()
    pins?.dropAll()
    this.#held = false
    this.#mustCompare ??= reason
    const connection =
      source.connection &&
      new Database(source.file, { readonly: true, fileMustExist: true, timeout: this.#settings.busyTimeoutMs })
    let begun = false
    try {
      const image = await openImage({ ...source, connection }, this.#settings) // which closes it
      const capturedAt = this.#clock.now()
      // Only of a single pass is it known where it stands in the log.
      if (pins && this.#follow && image.method !== 'single-pass')
        throw cannotFollow(source.file, image.notes.join(' ') || image.method)
      if (image.pageSize !== this.#captured.table.pageSize)
        throw new BackupError('BASE_UNUSABLE', `${source.file} has another page size now.`)
      pins?.pinNext()
      begun = true
      await compareImage(image, this.#captured.table, this.#captured.store, () => {})
      const { logMark: mark } = image
      this.#captured.endStep(before, {
        lookedAt,
        capturedAt,
        how: 'comparison',
        reason: this.#mustCompare,
        ...(mark && { mark }),
      })
      this.#mark = mark
      this.#notes = [...image.notes]
    } catch (error) {
      connection?.close()
      // Half a comparison cannot stay; before it, what waits for a backup is as right as it was.
      if (begun) this.drop(this.#mustCompare)
      throw error
    }
    pins?.dropOld()
    this.#held = pins !== undefined && this.#follow
    this.#mustCompare = undefined
    this.#comparedBytes = this.#captured.pendingBytes
    const nowMs = performance.now()
    this.#compared = { version, restUntilMs: nowMs + REST_FACTOR * (nowMs - startedMs) }
  }

  /**
   * The log is begun anew only when all of it is in the main file while nobody stands on it. A busy writer never leaves
   * such a moment, so here is one: writers are kept from beginning, what they wrote last is captured and copied, and
   * our own place is taken where nothing of the log is needed any more. Nothing is written that is not written anyway.
   */
  #sealWhenDue(pins: LogPins): void {
    if (this.#logBytes <= this.#limits.sealBytes || !this.#held) return
    const again = this.#sealAgain
    if (
      again &&
      this.#logBytes >= again.bytes / SEAL_GROWTH &&
      this.#logBytes < again.bytes &&
      performance.now() < again.atMs
    )
      return
    const { frames, backfilled } = pins.checkpoint() // most of it, while nobody waits
    let sealed = false
    if (frames > backfilled && pins.lockWriters(this.#limits.sealWaitMs)) {
      try {
        if (this.#lookAtLog(pins) === undefined) {
          pins.dropAll()
          const after = pins.checkpoint()
          pins.pinNext()
          pins.dropOld()
          sealed = after.frames === after.backfilled
        }
      } finally {
        pins.letWriters()
      }
    }
    this.#sealAgain = { bytes: this.#logBytes * SEAL_GROWTH, atMs: performance.now() + SEAL_AGAIN_MS }
    if (sealed) this.#sealAgain = undefined
  }
}

const NOT_HELD = 'The write-ahead log was begun anew since the last backup.'
const CHANGED = 'The write-ahead log was changed by something else than SQLite, or lost its end.'
const NO_MARK = 'It is not known where the write-ahead log was at the last backup.'

/** Which file this is, under whichever name. Does not open it. */
function identityOf(file: string | OpenSource): string {
  const { dev, ino } =
    typeof file === 'string' ? statSync(file, { bigint: true }) : fstatSync(file.fd, { bigint: true })
  return `${dev}:${ino}`
}

/** Every commit in rollback-journal mode counts the change counter up. */
function versionOf({ fd }: OpenSource): string {
  const { size, mtimeNs } = fstatSync(fd, { bigint: true })
  return `${readAt(fd, HEADER_BYTES, 0).toString('hex', 24, 28)}:${size}:${mtimeNs}`
}

const cannotFollow = (file: string, reason: string): BackupError =>
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
