import type { BackupKind } from '@taskflow-backup/core'
import type { Lsn } from '../lsn.ts'

/** What a chain is planned from: the header of one backup, from msdb, a backup file or a manifest. */
export interface BackupHeader {
  readonly kind: BackupKind
  readonly database: string
  /** The first log record in the backup. */
  readonly firstLsn: Lsn
  /** The next log record after the backup: what a log backup that continues it begins at, or before. */
  readonly lastLsn: Lsn
  readonly checkpointLsn: Lsn
  /** Checkpoint LSN of the last full that was not copy-only. */
  readonly databaseBackupLsn: Lsn
  /** Of a differential: the checkpoint LSN of its base. Default: `databaseBackupLsn`. */
  readonly differentialBaseLsn?: Lsn
  readonly copyOnly?: boolean
  /** The recovery path at the begin of the backup. A restore with recovery begins a new one. Absent: unknown. */
  readonly firstForkGuid?: string
  /** The recovery path at its end. */
  readonly lastForkGuid?: string
  /** Where the path changed, when the two are different. */
  readonly forkPointLsn?: Lsn
  /** The same for a database and all that was restored from its backups. Absent: unknown. */
  readonly familyGuid?: string
  /** True: the log holds minimally logged work, and a restore cannot stop inside it. */
  readonly hasBulkLoggedData?: boolean
  /** Local time of the server, `YYYY-MM-DDTHH:MM:SS`, usually cut to the second. */
  readonly startedAt: string
  readonly finishedAt: string
  /** Where it is: a file, or its stripes. */
  readonly files: readonly string[]
  /** Which backup in these files, from 1. */
  readonly set: number
  readonly server?: string
}

/** Where a recovery is to end. At most one of `at`, `lsn` and `mark`; none: as late as possible. */
export interface ChainTarget {
  /** Which database, when there are backups of several. */
  readonly database?: string
  /** Which recovery path. Default: the one that was in use at the time asked for. */
  readonly forkGuid?: string
  /** Local time of the server, `YYYY-MM-DDTHH:MM:SS[.mmm]`. */
  readonly at?: string
  /** The last log record to restore. */
  readonly lsn?: Lsn
  /** A transaction that was begun WITH MARK: the first one of this name, at or after `after` (local time). */
  readonly mark?: { readonly mark: string; readonly after?: string; readonly before?: boolean }
}

/** The backups to restore, in this order: the full, the differential, each log. */
export interface ChainPlan {
  readonly full: BackupHeader
  readonly differential?: BackupHeader
  readonly logs: readonly BackupHeader[]
  /** For STOPAT: local time in a form that `restoreStatement` takes, rounded down to what the server can hold. */
  readonly stopAt?: string
  /** For STOPATMARK with an LSN. */
  readonly stopAtLsn?: Lsn
  /** For STOPATMARK, or STOPBEFOREMARK when `before` is true. */
  readonly stopAtMark?: { readonly mark: string; readonly after?: string; readonly before?: boolean }
  /** Up to where these backups go: the next log record, and the local time up to which nothing is missing. */
  readonly reaches: { readonly lsn: Lsn; readonly at: string }
  /** What was left out and why, one sentence each. */
  readonly explanations: readonly string[]
}
