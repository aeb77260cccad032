import { BackupError, type BackupKind } from '@taskflow-backup/core'
import type { Device } from '../statements/devices.ts'

/** The member of a backup that stays on the server: a small JSON file that tells where it is. */
export interface OnServerRecord {
  readonly format: typeof FORMAT
  readonly version: 1
  /** Id of the backup. */
  readonly backup: string
  readonly kind: BackupKind
  readonly database: string
  readonly serverName: string
  readonly devices: readonly Device[]
  /** Name of the server's credential for a URL. */
  readonly credential?: string
  /** Size of all files together. */
  readonly bytes: number
  /** The server's own id of the backup. */
  readonly backupSetGuid: string
  /** LSNs are 25 digits. */
  readonly firstLsn: string
  readonly lastLsn: string
}

const FORMAT = 'taskflow-backup/mssql-on-server'
/** A record of 64 long paths is still much smaller. */
export const MOST_RECORD_BYTES = 256 * 1024

export const writeRecord = (record: Omit<OnServerRecord, 'format' | 'version'>): Buffer =>
  Buffer.from(`${JSON.stringify({ format: FORMAT, version: 1, ...record }, null, 2)}\n`)

/** @throws `MEMBER_DAMAGED` */
export function readRecord(name: string, bytes: Buffer): OnServerRecord {
  const damaged = (why: string) => new BackupError('MEMBER_DAMAGED', `${name} does not tell where a backup is: ${why}.`)
  let record: Partial<OnServerRecord>
  try {
    record = JSON.parse(bytes.toString()) as Partial<OnServerRecord>
  } catch {
    throw damaged('it is not JSON')
  }
  if (record?.format !== FORMAT || record.version !== 1) throw damaged('it has another format')
  const { devices, credential } = record
  const known =
    Array.isArray(devices) &&
    devices.length > 0 &&
    devices.every((device) => ['disk', 'url'].includes(device?.type) && typeof device.path === 'string')
  if (!known) throw damaged('it names no files')
  if (credential !== undefined && typeof credential !== 'string') throw damaged('its credential is no name')
  return record as OnServerRecord
}
