import { BackupError } from '@taskflow-backup/core'
import { toPosition } from './history.ts'
import { parseLsn } from './lsn.ts'
import type { SqlSession } from './session.ts'
import { LOG_MARKS, type LogMarkRow } from './statements/queries/history.ts'

/** A transaction that was begun WITH MARK, in a log backup. */
export interface LogMark {
  readonly name: string
  /** 25 digits. */
  readonly lsn: string
  /** Local time of the server, `YYYY-MM-DDTHH:MM:SS.mmm`. */
  readonly at: string
}

/** More of them would make a manifest large; a restore then lets the server look for them. */
const MOST_MARKS = 1000

/**
 * The marks in a log that was just backed up. Undefined when they cannot be told: the log is made, and to fail now would
 * be a hole in the chain.
 */
export async function readMarks(
  session: SqlSession,
  { database, firstLsn, lastLsn }: { readonly database: string; readonly firstLsn: string; readonly lastLsn: string },
): Promise<readonly LogMark[] | undefined> {
  let rows: LogMarkRow[]
  try {
    const range = { firstLsn: String(parseLsn(firstLsn)), lastLsn: String(parseLsn(lastLsn)) }
    rows = await session.rows<LogMarkRow>(LOG_MARKS, { database, ...range })
  } catch (error) {
    if (session.broken || !(error instanceof BackupError) || error.code === 'ABORTED') throw error
    return undefined
  }
  if (rows.length > MOST_MARKS) return undefined
  return rows.map(({ mark, lsn, markedAt }) => ({ name: mark, lsn: toPosition(lsn), at: markedAt }))
}
