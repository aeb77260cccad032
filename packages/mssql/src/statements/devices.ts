import { BackupError } from '@taskflow-backup/core'
import { pathLiteral } from './quote.ts'

/** Where the server writes a backup, or one stripe of it: a file as the server sees it, or a URL. */
export interface Device {
  readonly type: 'disk' | 'url'
  /** `D:\Backup\x.bak`, `/var/opt/mssql/backup/x.bak`, `s3://host/bucket/x.bak`, `https://account.blob…/x.bak`. */
  readonly path: string
}

/** A media set has 64 devices at most. */
const MAX_DEVICES = 64

/** `DISK = N'…', DISK = N'…'`. All of one kind, as the server demands, and none twice. */
export function deviceList(devices: readonly Device[]): string {
  if (devices.length < 1 || devices.length > MAX_DEVICES)
    throw new BackupError('OPTIONS_INVALID', `A backup has 1 to ${MAX_DEVICES} files, not ${devices.length}.`)
  if (new Set(devices.map((device) => device.type)).size > 1)
    throw new BackupError('OPTIONS_INVALID', 'The files of one backup must all be on disk, or all at a URL.')
  if (new Set(devices.map((device) => device.path)).size < devices.length)
    throw new BackupError('OPTIONS_INVALID', 'A backup names the same file twice.')
  return devices.map(({ type, path }) => `${KEYWORDS[type]} = ${pathLiteral(path)}`).join(', ')
}

const KEYWORDS = { disk: 'DISK', url: 'URL' } as const
