import { BackupError } from '@taskflow-backup/core'
import { type Device, deviceList } from './devices.ts'
import { identifier, literal, MAX_NAME, wholeNumber } from './quote.ts'

/** The algorithms of BACKUP … WITH ENCRYPTION. */
export const ENCRYPTION_ALGORITHMS = ['AES_128', 'AES_192', 'AES_256', 'TRIPLE_DES_3KEY'] as const

/** What {@link backupStatement} writes. */
export interface BackupStatement {
  readonly what: 'database' | 'log'
  readonly database: string
  /** One, or several stripes. */
  readonly devices: readonly Device[]
  /** What changed since the last full. Only with `database`, not with `copyOnly`. */
  readonly differential?: boolean
  /** Outside every chain: neither a base for differentials, nor does it shorten the log. */
  readonly copyOnly?: boolean
  /** Absent: the server's default. */
  readonly compression?: boolean
  readonly checksum: true
  /** Kept in the file and in msdb: 1 to 128 characters. */
  readonly name: string
  /** At most 255 characters. */
  readonly description: string
  /** Every how many percent the server reports, 1 to 100. */
  readonly statsPercent: number
  /** Multiples of 64 KiB up to 4 MiB; for S3 from 5 to 20 MiB. */
  readonly maxTransferSizeBytes?: number
  readonly bufferCount?: number
  readonly encryption?: {
    readonly algorithm: (typeof ENCRYPTION_ALGORITHMS)[number]
    readonly serverCertificate: string
  }
  /** The tail of the log: afterwards the database is RESTORING. Only with `log`. */
  readonly tailLog?: boolean
  /** Name of a credential, only for Azure page blobs by account key; else the server finds it by the URL. */
  readonly credential?: string
}

const KIB64 = 65_536
const MIB = 1_048_576

/** BACKUP DATABASE or BACKUP LOG, always into files of its own (FORMAT) and with checksums. */
export function backupStatement(backup: BackupStatement): string {
  refuseContradictions(backup)
  const { name, description, compression, encryption } = backup
  const isUrl = backup.devices[0]?.type === 'url'
  // FORMAT implies INIT; BACKUP TO URL does not take INIT.
  const options = [isUrl ? 'FORMAT' : 'FORMAT, INIT', 'CHECKSUM']
  if (backup.differential) options.push('DIFFERENTIAL')
  if (backup.copyOnly) options.push('COPY_ONLY')
  if (backup.tailLog) options.push('NORECOVERY')
  if (backup.credential !== undefined)
    options.push(`CREDENTIAL = ${shortLiteral('credential', backup.credential, 128)}`)
  if (compression !== undefined) options.push(compression ? 'COMPRESSION' : 'NO_COMPRESSION')
  if (encryption) {
    const certificate = identifier(encryption.serverCertificate)
    options.push(`ENCRYPTION (ALGORITHM = ${encryption.algorithm}, SERVER CERTIFICATE = ${certificate})`)
  }
  options.push(`NAME = ${shortLiteral('name', name, MAX_NAME)}`)
  if (description !== '') options.push(`DESCRIPTION = ${shortLiteral('description', description, 255)}`)
  if (backup.maxTransferSizeBytes !== undefined) options.push(`MAXTRANSFERSIZE = ${transferSize(backup)}`)
  if (backup.bufferCount !== undefined)
    options.push(`BUFFERCOUNT = ${wholeNumber('bufferCount', backup.bufferCount, 1, 2_147_483_647)}`)
  options.push(`STATS = ${wholeNumber('statsPercent', backup.statsPercent, 1, 100)}`)
  return (
    `BACKUP ${backup.what === 'log' ? 'LOG' : 'DATABASE'} ${identifier(backup.database)} ` +
    `TO ${deviceList(backup.devices)} WITH ${options.join(', ')};`
  )
}

function refuseContradictions({
  what,
  differential,
  copyOnly,
  tailLog,
  encryption,
  devices,
  credential,
}: BackupStatement) {
  const problems: string[] = []
  if (what !== 'database' && what !== 'log') problems.push('a backup is of a database or of a log')
  if (differential && what === 'log') problems.push('a log backup cannot be differential')
  if (differential && copyOnly) problems.push('a differential backup cannot be copy-only: the server ignores it')
  if (tailLog && what !== 'log') problems.push('only a log backup can take the tail of the log')
  if (encryption && !ENCRYPTION_ALGORITHMS.includes(encryption.algorithm))
    problems.push(`the encryption must be one of ${ENCRYPTION_ALGORITHMS.join(', ')}`)
  if (credential !== undefined && devices[0]?.type !== 'url') problems.push('a credential belongs to a URL')
  if (problems.length > 0)
    throw new BackupError('OPTIONS_INVALID', `No such backup can be made: ${problems.join('; ')}.`)
}

function transferSize({ maxTransferSizeBytes: bytes = 0, devices }: BackupStatement): string {
  const isS3 = devices[0]?.path.toLowerCase().startsWith('s3://') ?? false
  const [min, max] = isS3 ? [5 * MIB, 20 * MIB] : [KIB64, 4 * MIB]
  if (bytes % KIB64 !== 0)
    throw new BackupError('OPTIONS_INVALID', `maxTransferSizeBytes must be a multiple of ${KIB64}, not ${bytes}.`)
  return wholeNumber('maxTransferSizeBytes', bytes, min, max)
}

function shortLiteral(what: string, text: string, max: number): string {
  if (typeof text !== 'string' || text.length === 0 || text.length > max)
    throw new BackupError('OPTIONS_INVALID', `The ${what} of a backup must have 1 to ${max} characters.`)
  return literal(text)
}
