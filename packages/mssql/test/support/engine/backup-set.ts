import type { BackupKind } from '@taskflow-backup/core'
import type { DatabaseFile, LogRecord, Page, RecoveryModel } from './database.ts'

/** All that is known of one backup: what its file, msdb and RESTORE HEADERONLY show. Times are local, in ms. */
export interface BackupHeader {
  readonly kind: BackupKind
  readonly database: string
  readonly server: string
  readonly user: string
  readonly build: string
  readonly name: string
  readonly description: string
  readonly setGuid: string
  readonly mediaSetGuid: string
  readonly stripes: number
  readonly firstLsn: bigint
  readonly lastLsn: bigint
  readonly checkpointLsn: bigint
  readonly databaseBackupLsn: bigint
  readonly differentialBase?: { readonly lsn: bigint; readonly guid: string }
  readonly firstForkGuid: string
  readonly lastForkGuid: string
  readonly forkPointLsn?: bigint
  readonly familyGuid: string
  readonly copyOnly: boolean
  readonly compressed: boolean
  readonly checksums: boolean
  readonly recoveryModel: RecoveryModel
  readonly collation: string
  readonly compatibilityLevel: number
  readonly createdAt: number
  readonly startedAt: number
  readonly finishedAt: number
  readonly utcOffsetMinutes: number
  readonly files: readonly DatabaseFile[]
  readonly paddingBytes: number
  readonly damaged: boolean
  /** Of native encryption. */
  readonly certificate?: string
}

/** A backup as it stands in its files. */
export interface BackupSet {
  readonly header: BackupHeader
  readonly pages: readonly (readonly [number, Page])[]
  readonly log: readonly LogRecord[]
}

/** As bytes; `paddingBytes` of noise at the end make it as large as asked. */
export function encodeSet(set: BackupSet): Buffer {
  const json = Buffer.from(
    JSON.stringify(set, (_, value) => (typeof value === 'bigint' ? { $lsn: `${value}` } : value)),
  )
  const length = Buffer.alloc(4)
  length.writeUInt32LE(json.length)
  return Buffer.concat([length, json, set.header.kind === 'log' ? Buffer.alloc(0) : noise(set.header.paddingBytes)])
}

export function decodeSet(bytes: Buffer): BackupSet {
  const json = bytes.toString('utf8', 4, 4 + bytes.readUInt32LE(0))
  return JSON.parse(json, (_, value) => (typeof value?.$lsn === 'string' ? BigInt(value.$lsn) : value)) as BackupSet
}

/** Bytes that do not compress, the same every time. */
function noise(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = 0x9e3779b9
  for (let at = 0; at < length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state
  }
  return bytes
}
