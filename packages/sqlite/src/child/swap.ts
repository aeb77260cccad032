import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { BackupError } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { refuseOpeners } from '../in-use.ts'
import type { Jobs, SwapSettings } from '../jobs.ts'
import { HEADER_BYTES, parseHeader } from './header.ts'
import { findOpeners } from './openers.ts'
import { readAt } from './wal.ts'

const SIDECARS = ['-wal', '-shm', '-journal'] as const
/** Keeps the garbage collector from closing the connection that holds the lock. */
const locks: Database.Database[] = []

/**
 * Puts `staged` in the place of `target`, at one stroke, and keeps what was there in the folder `kept`.
 *
 * Whatever stops this process, the file at `target` is the old database or the new one, whole: before the rename the
 * old one's log is emptied into it and removed under an exclusive lock, because a log that is left beside the new file
 * would be replayed over it.
 *
 * The lock is held until this process ends. **The caller must end it without closing the connection**: SQLite would
 * remove the log of whatever database lies at `target` then.
 *
 * @throws `DATABASE_IN_USE`, `TARGET_EXISTS`, and what the file system throws
 */
export function swap(settings: SwapSettings, onWarning: (message: string) => void): Jobs['swap']['result'] {
  const { staged, target, kept, evenIfInUse } = settings
  if (!evenIfInUse) refuseOpeners(target, findOpeners(target), process.ppid)
  if (staged !== null) settle(staged)
  const exists = existsSync(target)
  if (staged !== null && exists) takeOverOwner(staged, target)
  const held = exists ? lockExclusively(settings) : undefined
  // Emptying a long log takes its time: whoever opened the file meanwhile waits for the lock and sees nothing yet.
  if (held && !evenIfInUse) refuseOpeners(target, findOpeners(target), process.ppid)
  const sidecars = held ? [] : SIDECARS.filter((suffix) => existsSync(target + suffix))
  const makeKept = exists || sidecars.length > 0
  if (makeKept) makeKeptFolder(kept, target)
  const keptFile = join(kept, basename(target))
  // A second name for the old database first: from here to the rename it is live, and kept as well.
  if (exists) linkOrCopy(target, keptFile)
  for (const suffix of sidecars) linkOrCopy(target + suffix, keptFile + suffix)
  if (makeKept) syncFolder(kept)
  // Last before the rename: a log that could not be emptied is part of the old database.
  for (const suffix of SIDECARS) rmSync(target + suffix, { force: true })
  if (staged === null) rmSync(target, { force: true })
  else if (exists) renameSync(staged, target)
  else linkNew(staged, target)
  // Only a damaged database still has a log here: it goes back as it was.
  for (const suffix of SIDECARS) if (staged && existsSync(staged + suffix)) renameSync(staged + suffix, target + suffix)
  syncFolder(dirname(target))
  // Whoever opened the old file while it was locked waits for the lock, and would write to the kept one.
  if (exists)
    for (const { pid, command } of findOpeners(keptFile))
      onWarning(`Process ${pid} (${command}) still has the replaced database open: end it.`)
  return { keptDatabase: exists }
}

/** Whoever owns the database may undo, also when somebody else restored. */
function makeKeptFolder(kept: string, target: string): void {
  mkdirSync(kept, { mode: 0o700 })
  const owner = statSync(target, { throwIfNoEntry: false })
  if (owner && process.getuid?.() === 0) chownSync(kept, owner.uid, owner.gid)
}

/** The new file belongs to whom the old one belonged to, with the same rights. */
function takeOverOwner(staged: string, target: string): void {
  const { mode, uid, gid } = statSync(target)
  chmodSync(staged, mode & 0o7777)
  if (process.getuid?.() === 0) chownSync(staged, uid, gid)
}

/**
 * Empties the log of the database at `target` into it and keeps everybody else out.
 *
 * `undefined` when that cannot be done: because the file is damaged, which is what restores are for, or because others
 * use it and the caller wants to go on all the same.
 */
function lockExclusively({ target, evenIfInUse, busyTimeoutMs }: SwapSettings): Database.Database | undefined {
  if (!isDatabase(target)) return undefined // SQLite would change what is kept: without a page it deletes the log
  let database: Database.Database | undefined
  try {
    database = new Database(target, { fileMustExist: true, timeout: evenIfInUse ? 0 : busyTimeoutMs })
    database.pragma('locking_mode = EXCLUSIVE')
    database.exec('BEGIN EXCLUSIVE; COMMIT') // with this locking mode the lock outlives the transaction
    if (database.pragma('journal_mode', { simple: true }) === 'wal') {
      const [state] = database.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[]
      if (state?.busy !== 0) throw new Error('the log could not be emptied')
    } else {
      database.exec('BEGIN EXCLUSIVE') // without a log the lock goes with the transaction
    }
    const left = statSync(`${target}-wal`, { throwIfNoEntry: false })
    if (left && left.size > 0) throw new Error('the log could not be emptied')
    locks.push(database)
    return database
  } catch (error) {
    const code = String((error as { code?: unknown }).code ?? '')
    if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) {
      if (!evenIfInUse)
        throw new BackupError('DATABASE_IN_USE', `${target} is locked by another connection.`, { cause: error })
      shrinkLog(target)
    }
    database?.close()
    return undefined
  }
}

/** A kept database may have kept its log as well; it has to be one file before it can take another's place. */
function settle(staged: string): void {
  const holdsSomething = (suffix: string): boolean =>
    (statSync(staged + suffix, { throwIfNoEntry: false })?.size ?? 0) > 0
  if (holdsSomething('-wal') || holdsSomething('-journal')) {
    if (!isDatabase(staged)) return
    const database = new Database(staged, { fileMustExist: true })
    database.pragma('wal_checkpoint(TRUNCATE)')
    database.close()
    if (holdsSomething('-wal') || holdsSomething('-journal')) {
      throw new BackupError('UNDO_IMPOSSIBLE', `${staged} could not be joined with its log.`)
    }
  }
  for (const suffix of SIDECARS) rmSync(staged + suffix, { force: true })
}

/** Whether there is a header at all. Closing a file drops all locks on it in this process: asked before there are any. */
function isDatabase(file: string): boolean {
  const fd = openSync(file, 'r')
  const header = parseHeader(readAt(fd, HEADER_BYTES, 0))
  closeSync(fd)
  return typeof header !== 'string'
}

/** Moves what can be moved from the log into the file, so that as little as possible depends on the log. */
function shrinkLog(target: string): void {
  try {
    const database = new Database(target, { fileMustExist: true, timeout: 1000 })
    database.pragma('wal_checkpoint(TRUNCATE)')
    database.close()
  } catch {
    // The log is kept beside the old file then.
  }
}

function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to)
  } catch {
    // A file system without hard links. This process may open the file: it holds no lock that matters to the app.
    copyFileSync(from, to, constants.COPYFILE_EXCL)
    syncFile(to)
  }
}

/** Like a rename, but fails when something came to be at `to` meanwhile. */
function linkNew(from: string, to: string): void {
  try {
    linkSync(from, to)
    rmSync(from)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EEXIST') throw new BackupError('TARGET_EXISTS', `${to} came to be while its replacement was built.`)
    if (existsSync(to)) throw error
    renameSync(from, to)
  }
}

function syncFile(file: string): void {
  const fd = openSync(file, 'r+')
  fsyncSync(fd)
  closeSync(fd)
}

function syncFolder(folder: string): void {
  if (process.platform === 'win32') return
  const fd = openSync(folder, 'r')
  fsyncSync(fd)
  closeSync(fd)
}
