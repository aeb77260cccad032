import { BackupError, type JsonValue, type Manifest } from '@taskflow-backup/core'
import type { LogMark } from './marks.ts'
import type { Transfer } from './transfer/options.ts'
import type { UnreadMember } from './vouch.ts'

/** A file of the database, as the server that made the backup had it. */
export interface DatabaseFile {
  readonly logicalName: string
  readonly physicalName: string
  /** ROWS, LOG, FILESTREAM, FULLTEXT. */
  readonly type: string
  readonly sizeBytes: number
}

/** What a manifest's `source.details` holds. All LSNs are 25 digits; GUIDs are as SQL Server prints them. */
export interface MssqlDetails {
  readonly mode: 'mssql'
  readonly database: string
  readonly serverName: string
  readonly recoveryModel: string
  readonly firstLsn: string
  readonly lastLsn: string
  readonly checkpointLsn: string
  readonly databaseBackupLsn: string
  /** Of a differential: checkpoint LSN of its full. */
  readonly differentialBaseLsn?: string
  readonly firstForkGuid?: string
  readonly lastForkGuid?: string
  readonly familyGuid?: string
  /** Minutes east of Greenwich of the server's local time before and after the backup. */
  readonly utcOffsetMinutesBefore: number
  readonly utcOffsetMinutesAfter: number
  readonly copyOnly: boolean
  readonly nativeCompression: boolean
  /** The server encrypted it: it needs this certificate. */
  readonly serverCertificate?: string
  /** A log with changes that were logged in bulk: it can be restored as a whole only. */
  readonly bulkLogged?: boolean
  /** Of a log: its marked transactions in their order. Absent: the login may not see them, or there are too many. */
  readonly marks?: readonly LogMark[]
  readonly collation?: string
  readonly compatibilityLevel: number
  readonly transfer: Transfer['type']
  /** Members that our reader of backup files could make nothing of; the server vouched for them. */
  readonly unread?: readonly UnreadMember[]
  /** Where the backup is, when it stayed on the server or at a URL. */
  readonly devices?: readonly string[]
  /** Empty where the login may not see them. */
  readonly files: readonly DatabaseFile[]
}

/** The details as a manifest takes them. */
export const toJson = (details: MssqlDetails): { readonly [key: string]: JsonValue } =>
  JSON.parse(JSON.stringify(details)) as { readonly [key: string]: JsonValue }

/**
 * The details in a manifest.
 *
 * @throws `MANIFEST_DAMAGED` when they are not those of a SQL Server backup
 */
export function readDetails({ id, source }: Pick<Manifest, 'id' | 'source'>): MssqlDetails {
  const details = source.details as Partial<MssqlDetails> | undefined
  const texts = ['database', 'serverName', 'firstLsn', 'lastLsn', 'checkpointLsn', 'databaseBackupLsn'] as const
  const whole =
    details?.mode === 'mssql' &&
    texts.every((name) => typeof details[name] === 'string') &&
    typeof details.utcOffsetMinutesBefore === 'number' &&
    typeof details.utcOffsetMinutesAfter === 'number' &&
    Array.isArray(details.files)
  if (!whole)
    throw new BackupError('MANIFEST_DAMAGED', `The manifest of ${id} lacks what a SQL Server backup has to tell.`)
  return details as MssqlDetails
}
