import type Database from 'better-sqlite3'
import { pause } from './pause.ts'

/** The write-ahead log as SQLite's index of it tells it. */
export interface CommitMark {
  /** Committed frames. */
  readonly frames: number
  /** How many of them are in the main file already. */
  readonly backfilled: number
}

/** For {@link readMark}. SQLite before 3.51 would really checkpoint: the caller checks the version. */
export const prepareMark = (connection: Database.Database): Database.Statement =>
  connection.prepare('PRAGMA wal_checkpoint(NOOP)')

/**
 * Reads the commit mark and changes nothing. `undefined` when it cannot be told just now: a writer that was interrupted
 * while it wrote the mark keeps others from reading it. SQLite says -1 frames then, and means anything but an empty log.
 */
export function readMark(statement: Database.Statement): CommitMark | undefined {
  const { log, checkpointed } = statement.get() as { readonly log: number; readonly checkpointed: number }
  if (log >= 0) return { frames: log, backfilled: checkpointed }
  pause() // so that the writer has its turn
  return undefined
}
