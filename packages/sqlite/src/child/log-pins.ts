import { closeSync } from 'node:fs'
import { BackupError } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { type CommitMark, prepareMark, readMark } from './commit-mark.ts'
import { beginReading, type OpenSource, openLog } from './open-source.ts'
import { pause } from './pause.ts'
import { isWalHeader, readAt, WAL_HEADER_BYTES } from './wal.ts'

/** A busy database moves on between two looks; far fewer looks than this have always been enough. */
const MOST_LOOKS = 10_000

/** For so long it is tried without a rest to come into a gap. */
const SPIN_MS = 20

/** What the write-ahead log is now. */
export interface LogView extends CommitMark {
  /** Absent when the log is empty. */
  readonly log?: { readonly fd: number; readonly header: Buffer }
}

/**
 * Connections that keep the write-ahead log from being begun anew before it was captured: two readers that take turns,
 * so that there is always one, and to look and to checkpoint, others.
 *
 * A log is begun anew only when all of it is in the main file, and no reader stands on a place in it. A checkpoint
 * copies only up to the place on which a reader stands. So whoever stands on the place up to which it was captured, and
 * takes the next place before it leaves the old one, misses nothing.
 *
 * They are closed only when the file was replaced, and never where the process may end instead: the connection that is
 * closed last empties and removes the log.
 */
export class LogPins {
  readonly #source: OpenSource
  readonly #timeoutMs: number
  #held: Database.Database
  #next: Database.Database
  /** Is never inside a transaction: looks at the log, and checkpoints. */
  readonly #probe: Database.Database
  readonly #writer: Database.Database | undefined
  #mark: Database.Statement | undefined
  #fd: number | undefined

  /** `mayWrite`: also for {@link checkpoint} and {@link lockWriters}. */
  constructor(source: OpenSource, timeoutMs: number, mayWrite: boolean) {
    this.#source = source
    this.#timeoutMs = timeoutMs
    const open = (readonly: boolean, timeout: number): Database.Database =>
      new Database(source.file, { readonly, fileMustExist: true, timeout })
    this.#held = open(true, timeoutMs)
    this.#next = open(true, timeoutMs)
    this.#probe = open(!mayWrite, timeoutMs)
    this.#writer = mayWrite ? open(false, 0) : undefined
  }

  /** For whoever wants to ask the database something outside of a transaction. */
  get idle(): Database.Database {
    return this.#probe
  }

  /** Stands on the newest place as well, or stays where a look before stood that failed. */
  pinNext(): void {
    if (!this.#next.inTransaction) this.#next.exec('BEGIN')
    // It takes its place by reading: one that has begun and could not read stands nowhere yet.
    beginReading(this.#next, this.#source.file, this.#timeoutMs)
  }

  /** Leaves the old place. */
  dropOld(): void {
    ;[this.#held, this.#next] = [this.#next, this.#held]
    end(this.#next)
  }

  /** Leaves all places. */
  dropAll(): void {
    end(this.#held)
    end(this.#next)
  }

  /** Committed frames; for a glance, without a look at what they are. 0 when it cannot be told just now. */
  frames(): number {
    return this.#readMark()?.frames ?? 0
  }

  #readMark(): CommitMark | undefined {
    this.#mark ??= prepareMark(this.#probe)
    return readMark(this.#mark)
  }

  /** @throws `SOURCE_BUSY` */
  view(): LogView {
    for (let look = 1; look <= MOST_LOOKS; look++) {
      const before = this.#header()
      const mark = this.#readMark()
      if (!mark) continue
      if (mark.frames === 0) return { frames: 0, backfilled: 0 }
      const header = this.#header()
      if (before && header && this.#fd !== undefined && before.equals(header) && isWalHeader(header))
        return { ...mark, log: { fd: this.#fd, header } }
    }
    throw new BackupError('SOURCE_BUSY', `${this.#source.file}: the write-ahead log did not stand still.`, {
      retryable: true,
    })
  }

  /** Opened once: for as long as SQLite has the log open, it stays the same file. */
  #header(): Buffer | undefined {
    this.#fd ??= openLog(this.#source)
    if (this.#fd === undefined) return undefined
    const header = readAt(this.#fd, WAL_HEADER_BYTES, 0)
    return header.length === WAL_HEADER_BYTES ? header : undefined
  }

  /**
   * Copies to the main file what nobody stands before. Somebody else who does that just now is waited for up to `forMs`.
   * `busy`: that was not enough.
   */
  checkpoint(forMs = 0): LogView & { readonly busy: boolean } {
    let busy = true
    retry(forMs, () => {
      const [state] = this.#probe.pragma('wal_checkpoint(PASSIVE)') as { busy: number }[]
      busy = state?.busy !== 0
      return !busy
    })
    return { ...this.view(), busy }
  }

  /**
   * Keeps writers from beginning, which writes nothing. Tries for `forMs`: SQLite's own way of waiting sleeps past the
   * gaps of a writer at full speed.
   */
  lockWriters(forMs: number): boolean {
    return retry(forMs, () => {
      try {
        this.#writer?.exec('BEGIN IMMEDIATE')
        return this.#writer !== undefined
      } catch (error) {
        if (String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) return false
        throw error
      }
    })
  }

  letWriters(): void {
    if (this.#writer) end(this.#writer)
  }

  /** Those that may write first: the last one to be closed may only read, and so cannot touch a log by its name. */
  close(): void {
    this.#writer?.close()
    this.#probe.close()
    this.dropAll()
    this.#held.close()
    this.#next.close()
    if (this.#fd !== undefined) closeSync(this.#fd)
  }
}

/** Without a rest at first, then each millisecond. */
function retry(forMs: number, attempt: () => boolean): boolean {
  const startedMs = performance.now()
  while (!attempt()) {
    const passedMs = performance.now() - startedMs
    if (passedMs >= forMs) return false
    if (passedMs > SPIN_MS) pause()
  }
  return true
}

function end(connection: Database.Database): void {
  if (connection.inTransaction) connection.exec('ROLLBACK')
}
