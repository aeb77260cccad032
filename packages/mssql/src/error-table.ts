import type { ErrorCode } from '@taskflow-backup/core'

/** What an error means to the user of a backup. */
export interface Mapping {
  readonly code: ErrorCode
  readonly retryable?: boolean
  readonly hint?: string
}

/** For a file that is not, or not wholly, a backup. */
export const backupFile: Mapping = { code: 'MEMBER_DAMAGED' }
const privilege: Mapping = { code: 'PRIVILEGE_MISSING' }
export const refused: Mapping = { code: 'SERVER_REFUSED' }
const gone: Mapping = { code: 'SERVER_UNREACHABLE', retryable: true }

/** What an error number of the server means to the user of a backup. */
export const BY_NUMBER: { readonly [number: number]: Mapping } = {
  // Databases
  911: { code: 'SOURCE_MISSING', hint: 'Correct `database`; names are compared by the collation of the server.' },
  4060: refused,
  942: { code: 'SOURCE_UNREADABLE', hint: 'The database is offline: bring it online first.' },
  945: { code: 'SOURCE_UNREADABLE' },
  927: { code: 'SOURCE_BUSY', retryable: true, hint: 'The database is being restored: wait until that is done.' },
  1834: { code: 'TARGET_EXISTS', hint: 'A file of another database is at this path: give another folder.' },
  1801: { code: 'TARGET_EXISTS' },
  3101: { code: 'DATABASE_IN_USE', retryable: true },
  3702: { code: 'DATABASE_IN_USE', retryable: true },
  5030: { code: 'DATABASE_IN_USE', retryable: true },
  5061: { code: 'DATABASE_IN_USE', retryable: true },
  5064: { code: 'DATABASE_IN_USE', retryable: true },
  5070: { code: 'DATABASE_IN_USE', retryable: true },
  924: { code: 'DATABASE_IN_USE', retryable: true },
  3159: {
    code: 'TARGET_EXISTS',
    hint: 'The tail of the log of the database there has not been backed up: back it up first, or restore elsewhere.',
  },
  3156: { code: 'TARGET_EXISTS' },
  3154: { code: 'TARGET_EXISTS', hint: 'The database there is another one than that of the backup.' },
  // Backups
  4208: {
    code: 'BASE_UNUSABLE',
    hint: 'The recovery model SIMPLE has no log backups: ALTER DATABASE … SET RECOVERY FULL, then make a full.',
  },
  4214: { code: 'BASE_UNUSABLE', hint: 'Make a full backup; log backups begin after it.' },
  3035: { code: 'BASE_UNUSABLE', hint: 'Make a full backup; differentials are based on it.' },
  15151: {
    code: 'SERVER_SETTING',
    hint: 'Make what the message names (a certificate belongs into master), and let the login see it.',
  },
  7119: {
    code: 'SERVER_UNSUPPORTED',
    hint: 'A file has 2 GB or more: give `stripes`, or a smaller `transfer.stripeBytes`.',
  },
  3021: { code: 'SERVER_SETTING', hint: 'Backups cannot run inside of a transaction: do not share the connection.' },
  3023: { code: 'SOURCE_BUSY', retryable: true, hint: 'Another backup or change of files of the database is running.' },
  3204: { code: 'SERVER_FAILED', retryable: true },
  3033: { code: 'SERVER_UNSUPPORTED', hint: 'Take `copyOnly` away.' },
  3098: { code: 'MEMBER_DAMAGED', hint: 'Backups with and without compression cannot share a media set.' },
  1844: {
    code: 'SERVER_UNSUPPORTED',
    hint: 'Leave `nativeCompression` at "auto": this edition cannot compress backups.',
  },
  3241: backupFile,
  3242: backupFile,
  3243: backupFile,
  3183: backupFile,
  3189: backupFile,
  3203: backupFile,
  3256: backupFile,
  3132: { code: 'MEMBER_DAMAGED', hint: 'Give every stripe of the backup.' },
  3169: { code: 'SERVER_UNSUPPORTED', hint: 'A newer server made the backup: restore it on one that is not older.' },
  33111: {
    code: 'SERVER_SETTING',
    hint: 'The server has not the certificate: restore it into master first, with its private key.',
  },
  4305: { code: 'BASE_UNUSABLE' },
  4326: { code: 'BASE_UNUSABLE' },
  3136: { code: 'BASE_UNUSABLE' },
  // Rights
  229: privilege,
  230: privilege,
  262: privilege,
  297: privilege,
  300: privilege,
  916: privilege,
  3110: privilege,
  4834: privilege,
  15247: privilege,
  18456: refused,
  18470: { ...refused, hint: 'The login is disabled: ALTER LOGIN … ENABLE.' },
  2571: privilege,
  7983: privilege,
  3043: {
    code: 'SOURCE_UNREADABLE',
    hint: 'A page of the database is damaged on its disk: run DBCC CHECKDB, and restore from an older backup.',
  },
  18452: refused,
  18487: refused,
  18488: refused,
  // The server itself
  1204: { code: 'SERVER_BUSY', retryable: true },
  1205: { code: 'SERVER_BUSY', retryable: true },
  1222: { code: 'SERVER_BUSY', retryable: true },
  701: { code: 'SERVER_BUSY', retryable: true },
  17809: { code: 'SERVER_BUSY', retryable: true },
  1101: { code: 'STORAGE_FULL' },
  1105: { code: 'STORAGE_FULL' },
  9002: { code: 'STORAGE_FULL', hint: 'The log of the database is full: see log_reuse_wait_desc in sys.databases.' },
  3257: { code: 'STORAGE_FULL', hint: 'There is not enough room for the files of the restored database.' },
  6005: gone,
  596: gone,
  921: gone,
}

/** Devices: the reason is the error of the operating system, in the message. */
export const DEVICE_ERRORS: readonly number[] = [
  3201, 3202, 3203, 3254, 3266, 3271, 18204, 18210, 4861, 4860, 5133, 5123, 12704,
]
/** They only say that something failed, never what. */
export const CONSEQUENCES: readonly number[] = [3013, 3119, 3754, 5069, 3271]

/** What the driver and Node.js say when there was no answer of a server. */
export const BY_CODE: { readonly [code: string]: Mapping } = {
  ELOGIN: refused,
  ESOCKET: gone,
  ETIMEOUT: gone,
  ECONNCLOSED: gone,
  ECLOSE: gone,
  ENOTOPEN: gone,
  ECONNRESET: gone,
  ECONNREFUSED: gone,
  EPIPE: gone,
  EINSTLOOKUP: {
    code: 'SERVER_UNREACHABLE',
    retryable: true,
    hint: 'The SQL Server Browser did not answer: give a port.',
  },
  EENCRYPT: {
    code: 'SERVER_UNREACHABLE',
    hint: 'The server does not encrypt: give it a certificate, or set `encrypt: false` in the connection.',
  },
}

/** Whatever its code. */
export const BAD_CERTIFICATE: Mapping = {
  code: 'SERVER_UNREACHABLE',
  hint: "Give the authority of the server's certificate in the connection (`options.cryptoCredentialsDetails.ca`), and the name that it is for; `trustServerCertificate: true` takes any, also that of a man in the middle.",
}
