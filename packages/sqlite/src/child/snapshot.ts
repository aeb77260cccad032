import { closeSync, fstatSync, readSync, statSync } from 'node:fs'
import { BackupError } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import type { LogMark } from '../changes/format.ts'
import { prepareMark, readMark } from './commit-mark.ts'
import { beginReading, type OpenSource, openLog } from './open-source.ts'
import { FRAME_HEADER_BYTES, framesFor, indexWal, isWalHeader, readAt, WAL_HEADER_BYTES, type WalIndex } from './wal.ts'

/** A busy database moves on between two looks; far fewer looks than this have always been enough. */
const MOST_LOOKS = 10_000

/** One committed state of a database, readable page by page for as long as it is not released. */
export interface Snapshot {
  readonly pageSize: number
  readonly pageCount: number
  readonly journalMode: string
  readonly consistentAt: Date
  /** `wal:<salts>:<frame>` or `file:<change counter>`. */
  readonly mark: string
  /** The place in the write-ahead log where this state is; absent when the log has no frames, or there is none. */
  readonly logMark?: LogMark
  /** Reads `count` pages from `first` (counted from 1) into a fresh buffer. */
  readPages(first: number, count: number): Buffer
  /** Bytes of the write-ahead log now: while a snapshot is held, the log can only grow. */
  logBytes(): number
  /** Ends the read transaction. */
  release(): void
}

/** The write-ahead log as it was when the snapshot was taken. */
interface PinnedLog {
  readonly fd: number
  readonly header: Buffer
  readonly mark: LogMark
  readonly index: WalIndex
}

/**
 * Pins the newest committed state: a read transaction, then the commit mark and the log's header.
 *
 * While a reader is pinned the log cannot be reset, so every commit mark that is read after the pin is sound. The
 * exception is a reader that pinned a log which was wholly in the main file already: then a writer may begin the log
 * anew, but nobody may write to the main file, which holds the whole state. {@link Snapshot.readPages} notices that.
 *
 * @throws `SOURCE_BUSY`, and what SQLite throws
 */
export function takeSnapshot(source: OpenSource, connection: Database.Database, busyTimeoutMs: number): Snapshot {
  const probe = new Database(source.file, { readonly: true, fileMustExist: true, timeout: busyTimeoutMs })
  try {
    for (let look = 1; look <= MOST_LOOKS; look++) {
      connection.exec('BEGIN')
      beginReading(connection, source.file, busyTimeoutMs)
      const pageSize = connection.pragma('page_size', { simple: true }) as number
      const journalMode = connection.pragma('journal_mode', { simple: true }) as string
      const log = lookAtLog(source, journalMode, probe, pageSize)
      if (log !== 'moved') {
        const pinned = log === 'empty' ? undefined : log
        const pageCount = pinned?.index.pageCount ?? (connection.pragma('page_count', { simple: true }) as number)
        return open(source, connection, { pageSize, pageCount, journalMode }, pinned)
      }
      connection.exec('ROLLBACK')
    }
  } finally {
    probe.close()
  }
  throw new BackupError('SOURCE_BUSY', `${source.file}: no commit stood still long enough to be read.`, {
    retryable: true,
  })
}

/** Reads the commit mark and what the log holds up to it; `moved` when they changed under our hands. */
function lookAtLog(
  source: OpenSource,
  journalMode: string,
  probe: Database.Database,
  pageSize: number,
): PinnedLog | 'empty' | 'moved' {
  const fd = openLog(source)
  let keep = false
  try {
    if (journalMode !== 'wal') return 'empty'
    const before = fd === undefined ? undefined : readAt(fd, WAL_HEADER_BYTES, 0)
    const lastFrame = readMark(prepareMark(probe))?.frames
    if (lastFrame === undefined) return 'moved'
    if (lastFrame === 0) return 'empty' // everything is in the main file, which nobody writes to while we are pinned
    if (fd === undefined || before === undefined) return 'moved'
    const after = readAt(fd, WAL_HEADER_BYTES, 0)
    // Of a log that was begun anew since then, frames up to there may be half written.
    if (!before.equals(after) || !isWalHeader(after)) return 'moved'
    const index = indexWal(fd, after, lastFrame, pageSize)
    if (!index) return 'moved'
    const mark = markAt(fd, after, lastFrame, pageSize)
    keep = true
    return { fd, header: after, mark, index }
  } finally {
    if (fd !== undefined && !keep) closeSync(fd)
  }
}

/** The running checksum of a frame is that of the whole log up to it. */
function markAt(fd: number, header: Buffer, frame: number, pageSize: number): LogMark {
  const position = WAL_HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + pageSize)
  const checksum = readAt(fd, 8, position + 16).toString('hex')
  return { salts: header.toString('hex', 16, 24), frame, checksum }
}

function open(
  source: OpenSource,
  connection: Database.Database,
  facts: Pick<Snapshot, 'pageSize' | 'pageCount' | 'journalMode'>,
  log: PinnedLog | undefined,
): Snapshot {
  const { fd } = source
  const { pageSize } = facts

  const readPages = (first: number, count: number): Buffer => {
    const bytes = Buffer.allocUnsafeSlow(count * pageSize)
    const found = log ? framesFor(log.index, first, count) : []
    if (found.length < count) readFile(fd, bytes, (first - 1) * pageSize)
    if (!log || found.length === 0) return bytes
    for (const { page, frame } of found) {
      const position = WAL_HEADER_BYTES + (frame - 1) * (FRAME_HEADER_BYTES + pageSize) + FRAME_HEADER_BYTES
      readSync(log.fd, bytes, (page - first) * pageSize, pageSize, position)
    }
    // Looked at after the frames were read: a log that still has our header was not overwritten before that.
    if (!readAt(log.fd, WAL_HEADER_BYTES, 0).equals(log.header)) readFile(fd, bytes, (first - 1) * pageSize)
    return bytes
  }

  return {
    ...facts,
    consistentAt: new Date(),
    mark: log ? `wal:${log.mark.salts}:${log.mark.frame}` : `file:${readAt(fd, 4, 24).readUInt32BE()}`,
    ...(log && { logMark: log.mark }),
    readPages,
    logBytes: () => statSync(`${source.file}-wal`, { throwIfNoEntry: false })?.size ?? 0,
    release: () => {
      connection.close()
      if (log) closeSync(log.fd)
    },
  }
}

/**
 * A file in a read-only file system, read as it is. Somebody may still write to it through another mount.
 *
 * @throws `SOURCE_BUSY` from `readPages` when it changed
 */
export function takeStaticCopy(source: OpenSource): Snapshot {
  const { pageSize, pageCount, changeCounter } = source.header
  const before = fstatSync(source.fd, { bigint: true })
  return {
    pageSize,
    pageCount: pageCount ?? Math.ceil(Number(before.size) / pageSize),
    journalMode: 'wal',
    consistentAt: new Date(),
    mark: `file:${changeCounter}`,
    readPages: (first, count) => {
      const bytes = Buffer.allocUnsafeSlow(count * pageSize)
      readFile(source.fd, bytes, (first - 1) * pageSize)
      const now = fstatSync(source.fd, { bigint: true })
      if (now.mtimeNs === before.mtimeNs && now.size === before.size) return bytes
      throw new BackupError('SOURCE_BUSY', `${source.file} changed while it was copied.`, { retryable: true })
    },
    logBytes: () => 0,
    release: () => {},
  }
}

/** Fills `bytes` from `position`. What lies behind the end of the file is zeros: pages that were never written. */
function readFile(fd: number, bytes: Buffer, position: number): void {
  let filled = 0
  while (filled < bytes.length) {
    const read = readSync(fd, bytes, filled, bytes.length - filled, position + filled)
    if (read === 0) {
      bytes.fill(0, filled)
      return
    }
    filled += read
  }
}
