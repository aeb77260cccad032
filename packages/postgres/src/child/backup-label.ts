import { BackupError } from '@taskflow-backup/core'

/** What a base backup's `backup_label` says about where it begins, and what it builds on. */
export interface BackupLabel {
  readonly startLsn: string
  readonly startTimeline: string
  /** Set in an incremental backup: the start of the backup that it builds on. */
  readonly from?: { readonly lsn: string; readonly timeline: string }
}

/** @throws `MEMBER_DAMAGED` */
export function parseBackupLabel(text: string): BackupLabel {
  const field = (pattern: RegExp): string | undefined => pattern.exec(text)?.[1]
  const startLsn = field(/^START WAL LOCATION: ([0-9A-F]+\/[0-9A-F]+)/m)
  const startTimeline = field(/^START TIMELINE: (\d+)/m)
  if (!startLsn || !startTimeline) throw new BackupError('MEMBER_DAMAGED', 'The backup_label has no start.')
  const lsn = field(/^INCREMENTAL FROM LSN: ([0-9A-F]+\/[0-9A-F]+)/m)
  const timeline = field(/^INCREMENTAL FROM TLI: (\d+)/m)
  return { startLsn, startTimeline, ...(lsn && timeline && { from: { lsn, timeline } }) }
}

/** The label of what an incremental backup becomes when it is combined: the server refuses to start with these lines. */
export const withoutIncrementalLines = (text: string): string => text.replace(/^INCREMENTAL FROM .*\n/gm, '')

/** @throws `MEMBER_DAMAGED` unless `label` is of a full, or builds on `before` */
export function checkLabelFollows(label: BackupLabel, before: BackupLabel | undefined): void {
  const refuse = (why: string): never => {
    throw new BackupError('MEMBER_DAMAGED', `The base backups do not belong together: ${why}.`)
  }
  if (!before && label.from) refuse('the first one builds on another')
  if (before && !label.from) refuse('the later one is not incremental')
  if (before && label.from && (label.from.lsn !== before.startLsn || label.from.timeline !== before.startTimeline)) {
    const { lsn, timeline } = label.from
    refuse(`the later one builds on ${timeline}:${lsn}, not on ${before.startTimeline}:${before.startLsn}`)
  }
}
