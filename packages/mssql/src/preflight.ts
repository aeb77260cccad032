import { BackupError, type BackupKind } from '@taskflow-backup/core'
import type { CheckedOptions } from './options.ts'
import type { ServerFacts } from './server-facts.ts'
import type { SqlSession } from './session.ts'
import { type DatabaseFactsRow, VOLUME_SPACE, type VolumeRow } from './statements/queries/databases.ts'
import { type HistoryRow, LATEST_HISTORY } from './statements/queries/history.ts'
import { PERMISSIONS, type PermissionsRow } from './statements/queries/server.ts'
import { onServer } from './transfer/names.ts'

const S3_MAJOR = 16

export async function readPermissions(session: SqlSession, database: string): Promise<PermissionsRow> {
  const [row] = await session.rows<PermissionsRow>(PERMISSIONS, { database })
  if (!row) throw new BackupError('SERVER_FAILED', 'The server does not tell what the login may do.')
  return row
}

/**
 * Without `kind`: whether the login may make any backup at all.
 *
 * @throws `PRIVILEGE_MISSING` naming each permission that is missing, with the statement that grants it
 */
export function assertPermitted(
  kind: BackupKind | undefined,
  { transfer, database }: CheckedOptions,
  permissions: PermissionsRow,
  { login, platform }: ServerFacts,
): void {
  const missing: string[] = []
  const right = kind === 'log' ? 'BACKUP LOG' : 'BACKUP DATABASE'
  const { backupLog, backupDatabase, isSysadmin } = permissions
  const granted = kind === 'log' ? backupLog : backupDatabase || (kind === undefined && backupLog)
  if (!granted && !isSysadmin) missing.push(right)
  const loads = transfer.type === 'read-back' && !permissions.administerBulkOperations && !permissions.isSysadmin
  if (loads) missing.push('ADMINISTER BULK OPERATIONS')
  if (missing.length === 0) return
  const statements = missing.map((name) =>
    name === right
      ? `in ${database}: GRANT ${right} TO [user of ${login}], or ALTER ROLE db_backupoperator ADD MEMBER`
      : platform === 'Linux'
        ? `in master: ALTER SERVER ROLE sysadmin ADD MEMBER [${login}], because on Linux only its members may load files; or use the transfer "shared-folder"`
        : `in master: GRANT ${name} TO [${login}]`,
  )
  throw new BackupError('PRIVILEGE_MISSING', `The login ${login} lacks ${missing.join(' and ')}.`, {
    hint: `${statements.join('; ')}.`,
    details: { missing },
  })
}

/** @throws `SOURCE_UNREADABLE`, `SOURCE_BUSY` for a database that cannot be backed up as it is now */
export function assertOnline({ name, state, sourceDatabaseId }: DatabaseFactsRow): void {
  if (sourceDatabaseId !== null)
    throw new BackupError('SOURCE_UNREADABLE', `${name} is a database snapshot, which cannot be backed up.`, {
      hint: 'Give the name of the database that it is a snapshot of.',
    })
  if (state === 'ONLINE') return
  if (state === 'RESTORING' || state === 'RECOVERING')
    throw new BackupError('SOURCE_BUSY', `${name} is ${state}.`, {
      retryable: true,
      hint: 'Wait until it is restored; one that was left RESTORING is opened by RESTORE DATABASE … WITH RECOVERY.',
    })
  throw new BackupError('SOURCE_UNREADABLE', `${name} is ${state}.`, { hint: 'Bring it online first.' })
}

/** @throws `SERVER_UNSUPPORTED` for options that this version or edition has not */
export function assertSupported(
  options: CheckedOptions,
  { major, edition, canCompress, canEncrypt }: ServerFacts,
): void {
  if (options.nativeCompression === true && !canCompress)
    throw new BackupError('SERVER_UNSUPPORTED', `${edition} cannot compress backups.`, {
      hint: 'Leave `nativeCompression` at "auto"; the plan compresses what passes through it.',
    })
  if (options.serverEncryption && !canEncrypt)
    throw new BackupError('SERVER_UNSUPPORTED', `${edition} cannot encrypt backups.`, {
      hint: 'Leave `serverEncryption` away; encrypt in the plan.',
    })
  if (options.transfer.type === 'url' && options.transfer.url.startsWith('s3:') && major < S3_MAJOR)
    throw new BackupError('SERVER_UNSUPPORTED', 'Only SQL Server 2022 and later can write to S3.', {
      hint: 'Use the transfer "shared-folder" and a destination on S3.',
    })
}

/** Whether the server is to compress: not twice, and not where its edition cannot. Undefined leaves it unsaid. */
export function nativeCompression(
  { nativeCompression: wanted, transfer }: CheckedOptions,
  { canCompress }: ServerFacts,
  planCompresses: boolean,
): boolean | undefined {
  if (!canCompress) return undefined
  if (wanted !== 'auto') return wanted
  return transfer.type === 'on-server' || transfer.type === 'url' || !planCompresses
}

/** How large a backup will be about. */
export interface SizeEstimate {
  readonly bytes: number
  /** From the last backup of its kind; else from the files of the database, which may be empty for the most part. */
  readonly measured: boolean
}

/** Undefined when nothing tells. A log is small, and made often: it is not asked for. */
export async function estimateSize(
  session: SqlSession,
  kind: BackupKind,
  { name, dataBytes }: DatabaseFactsRow,
): Promise<SizeEstimate | undefined> {
  if (kind === 'log') return undefined
  const rows = await session.rows<HistoryRow>(LATEST_HISTORY, { database: name })
  const last = rows.find(({ type }) => type === (kind === 'full' ? 'D' : 'I'))
  const lastBytes = last?.compressedBytes ?? last?.backupBytes
  if (lastBytes) return { bytes: Number(lastBytes), measured: true }
  return dataBytes === null ? undefined : { bytes: Number(dataBytes), measured: false }
}

/**
 * Room on the server's volume that a folder is on, in bytes, as far as the server tells: it knows those volumes that hold
 * files of the database.
 */
export async function roomOnServer(
  session: SqlSession,
  { database, folder }: { readonly database: string; readonly folder: string },
  permissions: PermissionsRow,
): Promise<number | undefined> {
  if (!permissions.viewServerState && !permissions.isSysadmin) return undefined
  const volumes = await session.rows<VolumeRow>(VOLUME_SPACE, { database })
  const path = onServer(folder, '').toLowerCase()
  const [volume] = volumes
    .filter(({ mountPoint }) => mountPoint !== null && path.startsWith(mountPoint.toLowerCase()))
    .sort((a, b) => (b.mountPoint as string).length - (a.mountPoint as string).length)
  return volume?.availableBytes == null ? undefined : Number(volume.availableBytes)
}

/** @throws `STORAGE_FULL`, unless the need is a guess: then it warns */
export function assertRoom(
  freeBytes: number | undefined,
  needed: SizeEstimate | undefined,
  where: string,
  onWarning: (message: string) => void,
): void {
  if (freeBytes === undefined || needed === undefined || freeBytes >= needed.bytes) return
  const message = `${where} has room for ${freeBytes} bytes, the backup needs about ${needed.bytes}.`
  if (!needed.measured) {
    onWarning(`${message} That is the size of the database's files; how much of them is used is not known yet.`)
    return
  }
  throw new BackupError('STORAGE_FULL', message, {
    hint: 'Free space there, or use another folder.',
    details: { freeBytes, neededBytes: needed.bytes },
  })
}
