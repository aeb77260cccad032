import { BackupError } from '@taskflow-backup/core'
import { parseLocalTime } from '../server-time.ts'
import type { BackupHeader, ChainTarget } from './types.ts'

/** @throws `OPTIONS_INVALID` */
export function checkTarget({ at, lsn, mark }: ChainTarget): void {
  if ([at, lsn, mark].filter((one) => one !== undefined).length > 1)
    throw new BackupError('OPTIONS_INVALID', 'A recovery ends at a time, a log sequence number or a mark: give one.')
  if (at !== undefined) parseLocalTime(at)
  if (mark?.after !== undefined) parseLocalTime(mark.after)
}

/** Whether a log is the one in which the target is. */
export function stopCondition({ at, lsn }: ChainTarget): (log: BackupHeader) => boolean {
  if (at !== undefined) {
    const wanted = parseLocalTime(at)
    return (log) => parseLocalTime(log.startedAt) >= wanted
  }
  return lsn === undefined ? () => false : (log) => log.lastLsn > lsn
}

/** For messages. */
export function describeTarget({ at, lsn, mark }: ChainTarget): string {
  if (at !== undefined) return at
  if (lsn !== undefined) return `the log sequence number ${lsn}`
  return mark ? `the mark ${JSON.stringify(mark.mark)}` : 'any state'
}
