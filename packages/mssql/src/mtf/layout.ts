// Microsoft Tape Format as SQL Server writes it. Everything is little endian. Where a field is not from the published
// format (TAPE, SSET, headers of blocks and streams), it was found by comparing real files (SCIN, RAID).
import { type Lsn, lsnFromParts } from '../lsn.ts'

/** Sectors of a file, and the grid on which blocks begin. */
export const SECTOR = 512
/** Header that every block begins with. */
export const BLOCK_HEADER = 52
/** Header that every stream in a block begins with. */
export const STREAM_HEADER = 22
/** First bytes of a backup that the server compressed or encrypted. */
export const COMPRESSED_MAGIC = 'MSSQLBAK'
/** First bytes of every other backup. */
export const TAPE_MAGIC = 'TAPE'

/** Offsets in the payload of an MQCI stream (it begins with "SCIN"). */
export const SCIN = {
  flags: 8,
  build: 24,
  firstLsn: 32,
  lastLsn: 42,
  checkpointLsn: 52,
  databaseBackupLsn: 62,
  createdAt: 72,
  startedAt: 77,
  finishedAt: 82,
  kind: 87,
  compatibilityLevel: 91,
  databaseVersion: 94,
  size: 96,
  databaseName: 104,
  serverName: 108,
  forkGuid: 156,
  forkPointLsn: 172,
  forkedFromGuid: 184,
  familyGuid: 224,
  differentialBaseLsn: 260,
  /** The shortest payload that has every field above. */
  bytes: 288,
} as const

export const FLAG_CHECKSUMS = 0x10

/** XOR of `words` 16-bit words at `offset`. A header is whole when that over all of its words is zero. */
export function xor16(bytes: Buffer, offset: number, words: number): number {
  let sum = 0
  for (let word = 0; word < words; word++) sum ^= bytes.readUInt16LE(offset + 2 * word)
  return sum
}

/** A date of 5 bytes as `YYYY-MM-DDTHH:MM:SS` in the server's local time; `undefined` where it is none. */
export function readDate(bytes: Buffer, offset: number): string | undefined {
  const [b0, b1, b2, b3, b4] = bytes.subarray(offset, offset + 5) as unknown as [number, number, number, number, number]
  const year = (b0 << 6) | (b1 >> 2)
  const month = ((b1 & 3) << 2) | (b2 >> 6)
  const day = (b2 >> 1) & 31
  const hour = ((b2 & 1) << 4) | (b3 >> 4)
  const minute = ((b3 & 15) << 2) | (b4 >> 6)
  const second = b4 & 63
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second))
  const text = `${pad(year, 4)}-${pad(month)}-${pad(day)}T${pad(hour)}:${pad(minute)}:${pad(second)}`
  // An impossible date, such as one with month 0 or 15, does not come back as it was.
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text) ? text : undefined
}

function pad(value: number, digits = 2): string {
  return String(value).padStart(digits, '0')
}

/** A GUID in the form that SQL Server prints; `undefined` where it is all zeros. */
export function readGuid(bytes: Buffer, offset: number): string | undefined {
  const raw = bytes.subarray(offset, offset + 16)
  if (raw.every((byte) => byte === 0)) return undefined
  const hex = Buffer.concat([
    Buffer.from(raw.subarray(0, 4)).reverse(),
    Buffer.from(raw.subarray(4, 6)).reverse(),
    Buffer.from(raw.subarray(6, 8)).reverse(),
    raw.subarray(8),
  ]).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5').toUpperCase()
}

/** An LSN of 10 bytes, in the decimal form of msdb and RESTORE HEADERONLY. */
export function readLsn(bytes: Buffer, offset: number): Lsn {
  return lsnFromParts(bytes.readUInt32LE(offset), bytes.readUInt32LE(offset + 4), bytes.readUInt16LE(offset + 8))
}

/** UTF-16 text that is told by its size and place at `offset`; `undefined` where it would lie outside. */
export function readText(bytes: Buffer, offset: number): string | undefined {
  const size = bytes.readUInt16LE(offset)
  const start = bytes.readUInt16LE(offset + 2)
  if (size % 2 !== 0 || start + size > bytes.length) return undefined
  return bytes.toString('utf16le', start, start + size).replace(/\0+$/, '')
}
