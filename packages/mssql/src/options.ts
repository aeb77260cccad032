import { isAbsolute, resolve } from 'node:path'
import { BackupError } from '@taskflow-backup/core'
import type { ConnectionPool, config as MssqlConfig } from 'mssql'
import { type ConnectionSource, toConnectionSource } from './connection.ts'
import { checkTransfer, type Transfer } from './transfer/options.ts'

/** Native encryption of the backup by the server, with a certificate that is in its `master` database. */
export interface ServerEncryption {
  readonly algorithm: 'AES_128' | 'AES_192' | 'AES_256' | 'TRIPLE_DES_3KEY'
  /** Name of the certificate. **Without it, and its private key, nobody can restore the backup.** */
  readonly serverCertificate: string
}

/** How a restore takes the place of the live database. */
export interface MssqlRestoreOptions {
  /**
   * `swap` restores beside the live database and exchanges the names; what was live is kept. `replace` takes a backup of
   * the tail of the log, then restores over it. Default: `swap`.
   */
  readonly method?: 'swap' | 'replace'
  /** Folder for data files, as the server sees it. Default: the server's own. */
  readonly dataDirectory?: string
  /** Folder for log files, as the server sees it. Default: the server's own. */
  readonly logDirectory?: string
}

/** What {@link mssql} takes. */
export interface MssqlOptions {
  /**
   * What the package `mssql` takes: a config, a connection string, or a pool. A pool is only asked for its config: the
   * adapter opens connections of its own, because a backup needs one to itself.
   */
  readonly connection: MssqlConfig | string | ConnectionPool
  /** Name of the database. */
  readonly database: string
  /** How the bytes come from the server, which writes its backups to its own disk. */
  readonly transfer: Transfer
  /** Fulls that no differential can be based on, beside backups that somebody else makes. Default: false. */
  readonly copyOnly?: boolean
  /**
   * Compression by the server. `auto` leaves it to the plan where the bytes pass through it, and else uses what the
   * server's edition has. Default: `auto`.
   */
  readonly nativeCompression?: 'auto' | boolean
  /** Files that the server writes at the same time, 1 to 64. Default: 1; read-back takes as many as it needs. */
  readonly stripes?: number
  /** MAXTRANSFERSIZE in bytes: a multiple of 65,536, up to 4,194,304; for S3 5,242,880 to 20,971,520. Default: the server's. */
  readonly maxTransferSizeBytes?: number
  /** BUFFERCOUNT, 1 to 65,535. Default: the server's. */
  readonly bufferCount?: number
  readonly serverEncryption?: ServerEncryption
  /** DBCC CHECKDB on a restored database: everything, or what is fast. Default: `full`. */
  readonly checkDatabase?: 'full' | 'physical-only'
  /** A backup or restore of which the server says nothing for so long, in milliseconds, has failed. Default: 600,000. */
  readonly inactivityTimeoutMs?: number
  readonly restore?: MssqlRestoreOptions
}

/** Options with all defaults; frozen. */
export interface CheckedOptions {
  readonly connection: ConnectionSource
  readonly database: string
  readonly transfer: Transfer
  readonly copyOnly: boolean
  readonly nativeCompression: 'auto' | boolean
  readonly stripes: number
  readonly maxTransferSizeBytes?: number
  readonly bufferCount?: number
  readonly serverEncryption?: ServerEncryption
  readonly checkDatabase: 'full' | 'physical-only'
  readonly inactivityTimeoutMs: number
  readonly restore: MssqlRestoreOptions & Required<Pick<MssqlRestoreOptions, 'method'>>
}

const KNOWN = [
  'connection',
  'database',
  'transfer',
  'copyOnly',
  'nativeCompression',
  'stripes',
  'maxTransferSizeBytes',
  'bufferCount',
  'serverEncryption',
  'checkDatabase',
  'inactivityTimeoutMs',
  'restore',
]
const KNOWN_RESTORE = ['method', 'dataDirectory', 'logDirectory']
const KNOWN_ENCRYPTION = ['algorithm', 'serverCertificate']
const ALGORITHMS = ['AES_128', 'AES_192', 'AES_256', 'TRIPLE_DES_3KEY']
const SYSTEM_DATABASES = ['tempdb']
const TRANSFER_UNIT_BYTES = 65_536
const MOST_STRIPES = 64

/**
 * Fills in defaults and makes our own paths absolute.
 *
 * @throws `OPTIONS_INVALID` naming every bad option; never repeats what the connection holds
 */
export function checkOptions(options: MssqlOptions): CheckedOptions {
  const problems: string[] = []
  const given: Partial<MssqlOptions> = options ?? {}
  const connection = toConnectionSource(given.connection, problems)
  const transfer = checkTransfer(given.transfer, problems)
  const { copyOnly = false, nativeCompression = 'auto', stripes = 1, inactivityTimeoutMs = 600_000 } = given
  const { database, maxTransferSizeBytes, bufferCount, serverEncryption, checkDatabase = 'full' } = given
  if (!isName(database)) problems.push('database: must be a name of 1 to 128 characters')
  else if (SYSTEM_DATABASES.includes(database.toLowerCase())) problems.push(`database: ${database} cannot be backed up`)
  if (typeof copyOnly !== 'boolean') problems.push('copyOnly: must be true or false')
  if (nativeCompression !== 'auto' && typeof nativeCompression !== 'boolean')
    problems.push('nativeCompression: must be "auto", true or false')
  if (!isWhole(stripes, 1, MOST_STRIPES)) problems.push(`stripes: must be 1 to ${MOST_STRIPES}`)
  checkTransferSize(maxTransferSizeBytes, transfer, problems)
  if (bufferCount !== undefined && !isWhole(bufferCount, 1, 65_535)) problems.push('bufferCount: must be 1 to 65535')
  checkEncryption(serverEncryption, problems)
  if (checkDatabase !== 'full' && checkDatabase !== 'physical-only')
    problems.push('checkDatabase: must be "full" or "physical-only"')
  if (!(typeof inactivityTimeoutMs === 'number' && inactivityTimeoutMs > 0))
    problems.push('inactivityTimeoutMs: must be a number of milliseconds')
  const restore = { method: 'swap', ...given.restore } as const
  if (restore.method !== 'swap' && restore.method !== 'replace')
    problems.push('restore.method: must be "swap" or "replace"')
  for (const name of ['dataDirectory', 'logDirectory'] as const)
    if (restore[name] !== undefined && !isText(restore[name]))
      problems.push(`restore.${name}: must be the path of a folder on the server`)
  problems.push(...unknownIn('', given, KNOWN), ...unknownIn('restore.', given.restore, KNOWN_RESTORE))
  if (problems.length > 0) {
    throw new BackupError('OPTIONS_INVALID', `mssql() has bad options: ${problems.join('; ')}.`, { details: problems })
  }
  return Object.freeze({
    connection,
    database: database as string,
    transfer: withAbsolutePath(transfer as Transfer),
    copyOnly,
    nativeCompression,
    stripes,
    ...(maxTransferSizeBytes !== undefined && { maxTransferSizeBytes }),
    ...(bufferCount !== undefined && { bufferCount }),
    ...(serverEncryption && { serverEncryption: Object.freeze({ ...serverEncryption }) }),
    checkDatabase,
    inactivityTimeoutMs,
    restore: Object.freeze(restore),
  })
}

function checkTransferSize(bytes: unknown, transfer: Transfer | undefined, problems: string[]): void {
  if (bytes === undefined) return
  const isS3 = transfer?.type === 'url' && /^s3:/i.test(transfer.url)
  const [least, most] = isS3 ? [5_242_880, 20_971_520] : [TRANSFER_UNIT_BYTES, 4_194_304]
  if (!isWhole(bytes, least, most) || bytes % TRANSFER_UNIT_BYTES !== 0)
    problems.push(`maxTransferSizeBytes: must be a multiple of ${TRANSFER_UNIT_BYTES}, from ${least} to ${most}`)
}

function checkEncryption(given: unknown, problems: string[]): void {
  if (given === undefined) return
  if (typeof given !== 'object' || given === null) {
    problems.push('serverEncryption: must be an object')
    return
  }
  const { algorithm, serverCertificate } = given as Partial<ServerEncryption>
  if (!ALGORITHMS.includes(algorithm as string))
    problems.push(`serverEncryption.algorithm: must be one of ${ALGORITHMS.join(', ')}`)
  if (!isName(serverCertificate))
    problems.push('serverEncryption.serverCertificate: must be a name of 1 to 128 characters')
  problems.push(...unknownIn('serverEncryption.', given, KNOWN_ENCRYPTION))
}

/** A folder of ours counts from the working directory; the server's are the server's business. */
function withAbsolutePath(transfer: Transfer): Transfer {
  if (transfer.type === 'shared-folder') {
    const { localDirectory } = transfer
    return Object.freeze({
      ...transfer,
      localDirectory: isAbsolute(localDirectory) ? localDirectory : resolve(localDirectory),
    })
  }
  if (transfer.type === 'read-back' && transfer.restoreThrough) {
    const { localDirectory, ...rest } = transfer.restoreThrough
    return Object.freeze({
      ...transfer,
      restoreThrough: Object.freeze({ ...rest, localDirectory: resolve(localDirectory) }),
    })
  }
  return Object.freeze({ ...transfer })
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '' && !value.includes('\0')

const isName = (value: unknown): value is string => isText(value) && value.length <= 128

const isWhole = (value: unknown, least: number, most: number): value is number =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most

const unknownIn = (prefix: string, given: object | undefined, known: readonly string[]): string[] =>
  Object.keys(given ?? {})
    .filter((name) => !known.includes(name))
    .map((name) => `${prefix}${name}: is not an option`)
