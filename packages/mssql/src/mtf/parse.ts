import { BackupError, type BackupKind } from '@taskflow-backup/core'
import { FLAG_CHECKSUMS, readDate, readGuid, readLsn, readText, SCIN } from './layout.ts'
import type { MtfMedia, MtfSet } from './types.ts'

// Each parser takes bytes whose checksum is right where they have one, and gives `undefined`, or a sentence, where they
// cannot be what they say.

const KINDS: { readonly [letter: string]: BackupKind } = { D: 'full', I: 'differential', L: 'log' }
/** RAID payload after the GUID, of a media set that is one file. */
const ONE_OF_ONE = Buffer.from('ad0000f0010001000100000000000100', 'hex')

/** What the TAPE block tells, besides what its RAID stream does. */
export interface TapeFacts extends Omit<MtfMedia, 'mediaSetGuid' | 'single'> {
  /** Length of a file mark, in sectors of 512 bytes. */
  readonly markSectors: number
}

export function parseTape(block: Buffer): TapeFacts | undefined {
  if (block.length < 94) return undefined
  const [name, software] = [readText(block, 68), readText(block, 80)]
  const writtenAt = readDate(block, 88)
  const markSectors = block.readUInt16LE(64)
  if (name === undefined || software === undefined || writtenAt === undefined || markSectors === 0) return undefined
  return {
    name,
    software,
    familyId: block.readUInt32LE(52),
    sequence: block.readUInt16LE(60),
    writtenAt,
    markSectors,
  }
}

export function parseRaid(payload: Buffer): Pick<MtfMedia, 'mediaSetGuid' | 'single'> {
  if (payload.length < 32) return { single: false }
  const mediaSetGuid = readGuid(payload, 0)
  const single = payload.subarray(16, 32).equals(ONE_OF_ONE)
  return { ...(mediaSetGuid && { mediaSetGuid }), single }
}

export type SetStart = Pick<MtfSet, 'number' | 'name' | 'user' | 'setGuid'>

export function parseSetStart(block: Buffer): SetStart | undefined {
  if (block.length < 116) return undefined
  const [name, user] = [readText(block, 64), readText(block, 76)]
  if (name === undefined || user === undefined) return undefined
  const setGuid = readGuid(block, 100)
  return { number: block.readUInt16LE(62), name, user, ...(setGuid && { setGuid }) }
}

/** What an MQCI stream tells; that of MSCI, at the beginning of a set, does not know yet when the backup finished. */
export type Configuration = Omit<MtfSet, keyof SetStart | 'finishedAt' | 'checkedStreams'> & {
  readonly finishedAt?: string
}

/** @throws `KIND_UNSUPPORTED` for a backup of single files or file groups */
export function parseConfiguration(payload: Buffer, what: string): Configuration | string {
  if (payload.length < SCIN.bytes) return `its header has ${payload.length} bytes only`
  if (payload.toString('latin1', 0, 4) !== 'SCIN') return 'its header does not begin with "SCIN"'
  const letter = String.fromCharCode(payload[SCIN.kind] as number)
  if ('FGPQ'.includes(letter))
    throw new BackupError('KIND_UNSUPPORTED', `${what} is a backup of files or file groups (kind ${letter}).`, {
      hint: 'Recover from full, differential and log backups; restore this one with the tools of SQL Server.',
    })
  const kind = KINDS[letter]
  if (!kind) return `its header tells an unknown kind of backup (${payload[SCIN.kind]})`
  const [database, server] = [readText(payload, SCIN.databaseName), readText(payload, SCIN.serverName)]
  if (!database || server === undefined) return 'its header has no name of a database'
  const startedAt = readDate(payload, SCIN.startedAt)
  if (startedAt === undefined) return 'its header has no date'
  const size = payload.readBigUInt64LE(SCIN.size)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) return `its header tells an impossible size (${size})`
  const createdAt = readDate(payload, SCIN.createdAt)
  const finishedAt = readDate(payload, SCIN.finishedAt)
  const [lastForkGuid, familyGuid] = [readGuid(payload, SCIN.forkGuid), readGuid(payload, SCIN.familyGuid)]
  const firstLsn = readLsn(payload, SCIN.firstLsn)
  // What was before the database was restored to the fork's point belongs to the path that it was restored from.
  const forkPointLsn = readLsn(payload, SCIN.forkPointLsn)
  const crossesFork = kind === 'log' && forkPointLsn > firstLsn
  const firstForkGuid = crossesFork ? readGuid(payload, SCIN.forkedFromGuid) : lastForkGuid
  return {
    kind,
    database,
    server,
    build: `${payload[SCIN.build + 3]}.${payload[SCIN.build + 2]}.${payload.readUInt16LE(SCIN.build)}`,
    compatibilityLevel: payload[SCIN.compatibilityLevel] as number,
    databaseVersion: payload.readUInt16LE(SCIN.databaseVersion),
    firstLsn,
    lastLsn: readLsn(payload, SCIN.lastLsn),
    checkpointLsn: readLsn(payload, SCIN.checkpointLsn),
    databaseBackupLsn: readLsn(payload, SCIN.databaseBackupLsn),
    ...(kind === 'differential' && { differentialBaseLsn: readLsn(payload, SCIN.differentialBaseLsn) }),
    ...(firstForkGuid && { firstForkGuid }),
    ...(crossesFork && { forkPointLsn }),
    ...(lastForkGuid && { lastForkGuid }),
    ...(familyGuid && { familyGuid }),
    ...(createdAt && { createdAt }),
    startedAt,
    ...(finishedAt && { finishedAt }),
    hasChecksums: (payload.readUInt32LE(SCIN.flags) & FLAG_CHECKSUMS) !== 0,
    dataBytes: Number(size),
  }
}
