import { createHash } from 'node:crypto'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { seal } from '../mtf-fields.ts'
import { readMtfPayload, writeMtf } from '../mtf-writer.ts'
import { type BackupHeader, type BackupSet, decodeSet, encodeSet } from './backup-set.ts'
import { secondText } from './clock.ts'
import type { Disk } from './disk.ts'
import { fail, OS_ERRORS } from './errors.ts'
import type { Device } from './statements.ts'

const COMPRESSED = 'MSSQLBAK'
const SECTOR = 512
const FUTURE = 'a sector that nobody knows yet'

/** What stands before each stripe's part, so that stripes can be told apart and damage is found. */
interface Frame {
  readonly mediaSetGuid: string
  readonly stripe: number
  readonly of: number
  readonly bytes: number
  readonly sha256: string
}

/** One file for each stripe, in Microsoft Tape Format. */
export function writeMedia(set: BackupSet): Buffer[] {
  const { header } = set
  const whole = encodeSet(set)
  const share = Math.ceil(whole.length / header.stripes)
  return Array.from({ length: header.stripes }, (_, index) => {
    const part = whole.subarray(index * share, (index + 1) * share)
    const file = writeStripe(header, index + 1, framed(header, index + 1, part))
    return header.compressed || header.certificate !== undefined ? opaque(file) : file
  })
}

/**
 * Reads a backup from all of its stripes.
 *
 * @throws 3201, 3203, 3241, 3132, 3258, 3189
 */
export function readMedia(devices: readonly Device[], disk: Disk): BackupSet {
  const parts = new Map<number, Buffer>()
  let set: Frame | undefined
  for (const device of devices) {
    const { frame, part } = readStripe(device, disk.read(device))
    if (set && frame.mediaSetGuid !== set.mediaSetGuid) throw otherSet(device)
    set = frame
    parts.set(frame.stripe, part)
  }
  const of = set?.of ?? 0
  if (parts.size < of)
    throw fail(
      3132,
      `The media set has ${of} media families but only ${parts.size} are provided. All members must be provided.`,
    )
  return decodeSet(Buffer.concat([...parts].sort(([left], [right]) => left - right).map(([, part]) => part)))
}

function writeStripe(header: BackupHeader, number: number, payload: Buffer): Buffer {
  const { kind, forkPointLsn } = header
  const [differentialBaseLsn, forkGuid] = [header.differentialBase?.lsn, header.lastForkGuid]
  return writeMtf({
    ...header,
    ...(kind === 'log' ? { log: payload } : { data: payload, log: Buffer.alloc(SECTOR) }),
    ...(kind === 'differential' && differentialBaseLsn !== undefined && { differentialBaseLsn }),
    forkGuid,
    ...(forkPointLsn !== undefined && { forkedFrom: { guid: header.firstForkGuid, lsn: forkPointLsn } }),
    checksum: header.checksums,
    createdAt: secondText(header.createdAt),
    startedAt: secondText(header.startedAt),
    finishedAt: secondText(header.finishedAt),
    stripe: { number, of: header.stripes },
  })
}

function framed({ mediaSetGuid, stripes }: BackupHeader, stripe: number, part: Buffer): Buffer {
  const sha256 = createHash('sha256').update(part).digest('hex')
  const frame: Frame = { mediaSetGuid, stripe, of: stripes, bytes: part.length, sha256 }
  const json = Buffer.from(JSON.stringify(frame))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(json.length)
  return Buffer.concat([length, json, part])
}

function readStripe(device: Device, given: Buffer): { readonly frame: Frame; readonly part: Buffer } {
  const file = isFuture(given) ? Buffer.concat([given.subarray(0, SECTOR), given.subarray(2 * SECTOR)]) : given
  const isCompressed = file.toString('latin1', 0, COMPRESSED.length) === COMPRESSED
  if (!isCompressed && file.toString('latin1', 0, 4) !== 'TAPE') throw malformed(device)
  let frame: Frame
  let part: Buffer
  try {
    const { data, log } = readMtfPayload(isCompressed ? inflateRawSync(file.subarray(COMPRESSED.length)) : file)
    const payload = data.length ? data : log
    const start = 4 + payload.readUInt32LE(0)
    frame = JSON.parse(payload.toString('utf8', 4, start)) as Frame
    part = payload.subarray(start, start + frame.bytes)
  } catch {
    throw malformed(device)
  }
  if (part.length < frame.bytes || !endsWithFileMark(file))
    throw fail(3203, `Read on "${device.path}" failed: ${OS_ERRORS.ended}`)
  if (createHash('sha256').update(part).digest('hex') !== frame.sha256)
    throw fail(3189, `Damage to the backup set was detected.`)
  return { frame, part }
}

/** As a server may write that comes after all that are known: its header has more than its format has today. */
export function inFutureFormat(file: Buffer): Buffer {
  return Buffer.concat([file.subarray(0, SECTOR), Buffer.from(FUTURE.padEnd(SECTOR)), file.subarray(SECTOR)])
}

const isFuture = (file: Buffer): boolean => file.toString('latin1', SECTOR, SECTOR + FUTURE.length) === FUTURE

/** Compressed or encrypted, all that shows from outside is how it begins, and the file mark it ends with. */
function opaque(file: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(COMPRESSED), deflateRawSync(file)])
  const mark = Buffer.alloc(SECTOR)
  mark.write('SFMB', 0, 'latin1')
  seal(mark, 0, 25)
  return Buffer.concat([body, Buffer.alloc(-body.length & (SECTOR - 1)), mark])
}

const endsWithFileMark = (file: Buffer): boolean =>
  file.length % SECTOR === 0 && file.toString('latin1', file.length - SECTOR, file.length - SECTOR + 4) === 'SFMB'

const malformed = ({ path }: Device) =>
  fail(3241, `The media family on device '${path}' is incorrectly formed. SQL Server cannot process this media family.`)

const otherSet = ({ path }: Device) =>
  fail(
    3258,
    `The volume on the device '${path}' is not part of the media set that is currently being processed. Ensure that the backup devices are loaded with the correct media.`,
  )
