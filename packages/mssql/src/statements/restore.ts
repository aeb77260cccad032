import { BackupError } from '@taskflow-backup/core'
import { formatLsn, type Lsn } from '../lsn.ts'
import { type Device, deviceList } from './devices.ts'
import { identifier, literal, MAX_NAME, pathLiteral, wholeNumber } from './quote.ts'

/** A transaction that was begun WITH MARK. */
export interface Mark {
  /** The name of the transaction. */
  readonly mark: string
  /** The first one of this name at or after this local time of the server. Default: the first one. */
  readonly after?: string
}

/** What {@link restoreStatement} writes. At most one of the five `stop…`. */
export interface RestoreStatement {
  readonly what: 'database' | 'log'
  readonly database: string
  /** All stripes of one backup. */
  readonly devices: readonly Device[]
  /** Where the files of the database go, by their logical names. Empty: where they were. */
  readonly moves: readonly { readonly logicalName: string; readonly path: string }[]
  /** `norecovery`: more backups follow. `recovery`: the database is opened. */
  readonly recovery: 'recovery' | 'norecovery'
  /** Over a database that is there. */
  readonly replace?: boolean
  /** Local time of the server that made the log, `YYYY-MM-DDTHH:MM:SS.mmm`. */
  readonly stopAt?: string
  /** With this transaction as the last one. */
  readonly stopAtMark?: Mark
  /** Up to this transaction, without it. */
  readonly stopBeforeMark?: Mark
  /** With this log record as the last one. */
  readonly stopAtLsn?: Lsn
  /** Up to this log record, without it. */
  readonly stopBeforeLsn?: Lsn
  /** Which backup of a file that holds several, from 1. Default: the first. */
  readonly fileNumber?: number
  /** Whether checksums are verified. Fails on a backup that has none. */
  readonly checksum: boolean
  /** Every how many percent the server reports, 1 to 100. */
  readonly statsPercent: number
  /** As in `BackupStatement`. */
  readonly credential?: string
}

/** RESTORE DATABASE or RESTORE LOG. */
export function restoreStatement(restore: RestoreStatement): string {
  const options: string[] = []
  options.push(...whereOptions(restore.fileNumber, restore.credential))
  options.push(...moveOptions(restore))
  options.push(restore.recovery === 'recovery' ? 'RECOVERY' : 'NORECOVERY')
  if (restore.replace) options.push('REPLACE')
  options.push(...stopOption(restore))
  if (restore.checksum) options.push('CHECKSUM')
  options.push(`STATS = ${wholeNumber('statsPercent', restore.statsPercent, 1, 100)}`)
  return (
    `RESTORE ${restore.what === 'log' ? 'LOG' : 'DATABASE'} ${identifier(restore.database)} ` +
    `FROM ${deviceList(restore.devices)} WITH ${options.join(', ')};`
  )
}

/** Opens a database to which nothing more is to be restored. */
export const recoverStatement = (database: string): string => `RESTORE DATABASE ${identifier(database)} WITH RECOVERY;`

/** The files of the database in a backup: logical names, sizes. */
export function fileListStatement(
  devices: readonly Device[],
  { fileNumber, credential }: Pick<VerifyOptions, 'fileNumber' | 'credential'> = {},
): string {
  const options = whereOptions(fileNumber, credential)
  return `RESTORE FILELISTONLY FROM ${deviceList(devices)}${options.length > 0 ? ` WITH ${options.join(', ')}` : ''};`
}

/** The headers of all backups in a file. */
export const headerStatement = (devices: readonly Device[]): string => `RESTORE HEADERONLY FROM ${deviceList(devices)};`

/** Lets the server read a whole backup and verify its checksums, restoring nothing. */
export function verifyStatement(
  devices: readonly Device[],
  { fileNumber, credential, statsPercent = 5, checksum = true }: VerifyOptions = {},
): string {
  const options = [
    ...whereOptions(fileNumber, credential),
    ...(checksum ? ['CHECKSUM'] : []),
    `STATS = ${wholeNumber('statsPercent', statsPercent, 1, 100)}`,
  ]
  return `RESTORE VERIFYONLY FROM ${deviceList(devices)} WITH ${options.join(', ')};`
}

/** For {@link verifyStatement}. */
export interface VerifyOptions {
  readonly fileNumber?: number
  /** Default: 5. */
  readonly statsPercent?: number
  /** Default: true; fails on a backup without checksums. */
  readonly checksum?: boolean
  /** As in `BackupStatement`. */
  readonly credential?: string
}

const fileOption = (fileNumber: number): string => `FILE = ${wholeNumber('fileNumber', fileNumber, 1, 2_147_483_647)}`

const whereOptions = (fileNumber: number | undefined, credential: string | undefined): string[] => [
  ...(fileNumber === undefined ? [] : [fileOption(fileNumber)]),
  ...(credential === undefined ? [] : [`CREDENTIAL = ${literal(credential)}`]),
]

function moveOptions({ moves }: RestoreStatement): string[] {
  for (const key of ['logicalName', 'path'] as const) {
    if (new Set(moves.map((move) => move[key])).size < moves.length)
      throw new BackupError('OPTIONS_INVALID', `Two files of the database have the same ${key} in a restore.`)
  }
  return moves.map(({ logicalName, path }) => `MOVE ${nameLiteral(logicalName)} TO ${pathLiteral(path)}`)
}

function stopOption({
  what,
  stopAt,
  stopAtMark,
  stopBeforeMark,
  stopAtLsn,
  stopBeforeLsn,
}: RestoreStatement): string[] {
  const stops: string[] = []
  if (stopAt !== undefined) stops.push(`STOPAT = ${timeLiteral(stopAt)}`)
  if (stopAtMark) stops.push(`STOPATMARK = ${markLiteral(stopAtMark)}`)
  if (stopBeforeMark) stops.push(`STOPBEFOREMARK = ${markLiteral(stopBeforeMark)}`)
  if (stopAtLsn !== undefined) stops.push(`STOPATMARK = ${literal(`lsn:${formatLsn(stopAtLsn)}`)}`)
  if (stopBeforeLsn !== undefined) stops.push(`STOPBEFOREMARK = ${literal(`lsn:${formatLsn(stopBeforeLsn)}`)}`)
  if (stops.length > 1) throw new BackupError('OPTIONS_INVALID', 'A restore can stop at one point only.')
  if (what === 'database' && (stopAtMark || stopBeforeMark))
    throw new BackupError('OPTIONS_INVALID', 'Only the restore of a log can stop at a marked transaction.')
  return stops
}

function markLiteral({ mark, after }: Mark): string {
  // The server would read it as a log sequence number, not as the name of a transaction.
  if (/^lsn:/i.test(mark))
    throw new BackupError('OPTIONS_INVALID', 'The name of a marked transaction cannot begin with "lsn:".')
  return after === undefined ? nameLiteral(mark) : `${nameLiteral(mark)} AFTER ${timeLiteral(after)}`
}

function nameLiteral(name: string): string {
  if (typeof name !== 'string' || name.length === 0 || name.length > MAX_NAME)
    throw new BackupError('OPTIONS_INVALID', `A name must have 1 to ${MAX_NAME} characters.`)
  return literal(name)
}

/** Only the form with a T means the same whatever language and date format the login has. */
function timeLiteral(time: string): string {
  if (typeof time !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?$/.test(time))
    throw new BackupError('OPTIONS_INVALID', `${JSON.stringify(time)} is no local time YYYY-MM-DDTHH:MM:SS.mmm.`)
  return literal(time)
}
