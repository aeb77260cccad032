import { randomBytes } from 'node:crypto'
import type { BackupKind } from '@taskflow-backup/core'
import { date, guid, lsn, seal, texts } from './mtf-fields.ts'

/** What a backup file of ours shall tell. LSNs in decimal form, times as `YYYY-MM-DDTHH:MM:SS` in the server's time zone. */
export interface MtfContents {
  readonly database: string
  readonly server?: string
  readonly kind: BackupKind
  readonly firstLsn: bigint
  readonly lastLsn: bigint
  readonly checkpointLsn: bigint
  readonly databaseBackupLsn?: bigint
  /** Of a differential. Default: `databaseBackupLsn`. */
  readonly differentialBaseLsn?: bigint
  readonly data?: Buffer
  readonly log?: Buffer
  /** WITH CHECKSUM. Default: false. */
  readonly checksum?: boolean
  readonly name?: string
  readonly user?: string
  readonly mediaName?: string
  /** Default: `15.0.4123`. The reader judges checksums of build `10.50.1600` only. */
  readonly build?: string
  readonly compatibilityLevel?: number
  readonly databaseVersion?: number
  readonly createdAt?: string
  readonly startedAt?: string
  readonly finishedAt?: string
  /** 16 bytes as hex, with or without dashes. Default: random. */
  readonly setGuid?: string
  readonly forkGuid?: string
  /** The recovery path that this one left, and where. Default: none. */
  readonly forkedFrom?: { readonly guid: string; readonly lsn: bigint }
  readonly familyGuid?: string
  readonly mediaSetGuid?: string
  /** Stripes: which one this is, and of how many. Default: 1 of 1. */
  readonly stripe?: { readonly number: number; readonly of: number }
  /** Default: 512. */
  readonly sectorBytes?: 512 | 4096
}

const BLOCK = 1024
const KIND = { full: 'D', differential: 'I', log: 'L' } as const

/** Writes a backup file in the layout of SQL Server, with correct checksums: one medium with the given sets. */
export function writeMtf(...contents: readonly [MtfContents, ...MtfContents[]]): Buffer {
  const file = new Writer(contents[0].sectorBytes ?? 512)
  const [{ mediaName = '', mediaSetGuid, stripe = { number: 1, of: 1 }, startedAt }] = contents
  file.block('TAPE', tape(mediaName, startedAt ?? STARTED_AT, file.sector / 512), [
    { id: 'RAID', payload: raid(mediaSetGuid, stripe) },
  ])
  file.fileMark()
  contents.forEach((set, index) => {
    writeSet(file, set, index + 1)
  })
  return file.finish()
}

/**
 * A file as it looks when the server compressed or encrypted it: its magic, blocks that nobody can tell apart, and the
 * file marks of `file` at its end.
 */
export function hideMtf(file: Buffer): Buffer {
  const hidden = Buffer.from(file)
  const end = file.lastIndexOf('SFMB', file.lastIndexOf('SFMB') - 1)
  randomBytes(end).copy(hidden)
  hidden.write('MSSQLBAK', 0, 'latin1')
  return hidden
}

/** The payloads of the first set of a file that `writeMtf` made. */
export function readMtfPayload(file: Buffer): { data: Buffer; log: Buffer } {
  return { data: payloadOf(file, 'MQDA'), log: payloadOf(file, 'MQTL') }
}

function payloadOf(file: Buffer, id: string): Buffer {
  // Streams of payload begin 24 bytes before a sector, see `aligned`.
  for (let at = 512; at < file.length; at += 512) {
    const header = at - 24
    if (file.toString('latin1', header, header + 4) !== id) continue
    const length = Number(file.readBigUInt64LE(at))
    return Buffer.from(file.subarray(at + 8, at + 8 + length))
  }
  return Buffer.alloc(0)
}

const STARTED_AT = '2026-03-01T12:00:00'

function writeSet(file: Writer, set: MtfContents, number: number): void {
  const started = set.startedAt ?? STARTED_AT
  const finished = set.finishedAt ?? started
  const checksum = set.checksum === true
  file.beginSet()
  const setGuid = guid(set.setGuid)
  file.block('SSET', sset(set, setGuid, number, started), [], { text: true })
  file.block('VOLB', Buffer.alloc(40), [], { text: true })
  const before = { ...set, startedAt: started, finishedAt: '' }
  const guids = { fork: guid(set.forkGuid), family: guid(set.familyGuid) }
  file.block('MSCI', Buffer.alloc(4), [{ id: 'MQCI', payload: scin(before, guids, 0) }], { text: true })
  const { data = Buffer.alloc(0), log = Buffer.alloc(0) } = set
  if (set.kind !== 'log') {
    file.block('MSDA', Buffer.alloc(8), [
      { id: 'MQDA', payload: sectors(data), attributes: 2, aligned: true },
      { id: 'MQDA', payload: Buffer.alloc(0), attributes: 6 },
      ...(checksum ? [{ id: 'CSUM', payload: sum(sectors(data)) }] : []),
    ])
  }
  file.block('MSTL', Buffer.alloc(540), [
    { id: 'MQTL', payload: sectors(log), aligned: true },
    ...(checksum ? [{ id: 'CSUM', payload: sum(sectors(log)) }] : []),
  ])
  const size = file.at - file.setAt
  const after = { ...before, finishedAt: finished }
  file.block('MSLS', Buffer.alloc(4), [{ id: 'MQCI', payload: scin(after, guids, size) }], { text: true })
  file.endSet()
  file.fileMark()
  const eset = Buffer.alloc(36)
  date(finished).copy(eset, 28)
  file.block('ESET', eset, [{ id: 'OTCP', payload: Buffer.alloc(914) }], { text: true })
  file.block('ESET', eset, [], { text: true })
  file.fileMark()
}

interface Stream {
  readonly id: string
  readonly payload: Buffer
  readonly attributes?: number
  /** Put padding before it, so that what follows the 2 bytes before the sectors begins on one. */
  readonly aligned?: boolean
}

class Writer {
  readonly #pieces: Buffer[] = []
  readonly #fileMarks: number[] = []
  readonly sector: number
  at = 0
  setAt = 0
  /** Blocks are as long as whole units counted from here. */
  #gridAt = 0
  #control = 0
  #inSet = false

  constructor(sector: number) {
    this.sector = sector
  }

  beginSet(): void {
    this.setAt = this.at
    this.#control = 0
    this.#inSet = true
  }

  endSet(): void {
    this.#inSet = false
  }

  /** One block: header, `descriptor` after it, the streams, and padding to the grid. */
  block(type: string, descriptor: Buffer, streams: readonly Stream[], { text = false } = {}): void {
    const start = this.at
    const body = Buffer.concat([Buffer.alloc(52), descriptor, Buffer.alloc(-descriptor.length & 3)])
    const address = this.#inSet ? (start - this.setAt) / Math.max(BLOCK, this.sector) : 0
    header(body, type, { address, control: this.#inSet ? this.#control++ : 0, first: body.length, text })
    if (type === 'TAPE') body.writeUInt32LE(0x30000, 4)
    seal(body, 0, 25)
    this.#put(body)
    for (const { id, payload, attributes = 0, aligned } of streams) {
      if (aligned) this.#put(streamHeader('APAD', this.#upTo(this.sector, 46), 0x80))
      if (aligned) this.#zeros(this.#upTo(this.sector, 24))
      this.#put(streamHeader(id, payload.length, attributes))
      this.#put(payload)
      this.#zeros(-this.at & 3)
    }
    const unit = Math.max(BLOCK, this.sector)
    const padding = (this.#gridAt - this.at - 22) & (unit - 1)
    this.#put(streamHeader('SPAD', padding))
    this.#zeros(padding)
  }

  fileMark(): void {
    const block = Buffer.alloc(this.sector)
    header(block, 'SFMB', { address: 0, control: 0, first: this.sector, text: false })
    block.writeUInt32LE(0x80000000, 4)
    seal(block, 0, 25)
    block.writeUInt32LE(55, 52)
    const marks = this.#fileMarks.toReversed().slice(0, 55)
    block.writeUInt32LE(marks.length, 56)
    block.writeUInt32LE(72, 60)
    marks.forEach((mark, index) => {
      block.writeUInt32LE(mark, 72 + 8 * index)
    })
    this.#fileMarks.push(this.at)
    this.#put(block)
    this.#gridAt = this.at
  }

  finish(): Buffer {
    return Buffer.concat(this.#pieces)
  }

  /** Bytes until the grid, after `more` bytes that come first. */
  #upTo(grid: number, more: number): number {
    return -(this.at + more) & (grid - 1)
  }

  #put(bytes: Buffer): void {
    this.#pieces.push(bytes)
    this.at += bytes.length
  }

  #zeros(length: number): void {
    this.#put(Buffer.alloc(length))
  }
}

function header(
  block: Buffer,
  type: string,
  { address, control, first, text }: { address: number; control: number; first: number; text: boolean },
): void {
  block.write(type, 0, 'latin1')
  block.writeUInt16LE(first, 8)
  block.writeUInt16LE(0x010e, 10)
  block.writeBigUInt64LE(BigInt(address), 20)
  block.writeUInt32LE(control, 36)
  if (text || type === 'TAPE') block[48] = 2
}

function streamHeader(id: string, length: number, attributes = 0): Buffer {
  const bytes = Buffer.alloc(22)
  bytes.write(id, 0, 'latin1')
  bytes.writeUInt16LE(attributes, 6)
  bytes.writeBigUInt64LE(BigInt(length), 8)
  seal(bytes, 0, 10)
  return bytes
}

/** Payload with its length before it, in whole sectors after the 2 bytes that SQL Server puts there. */
function sectors(payload: Buffer): Buffer {
  const bytes = Buffer.alloc(2 + Math.ceil((payload.length + 8) / 512) * 512)
  bytes.writeBigUInt64LE(BigInt(payload.length), 2)
  payload.copy(bytes, 10)
  return bytes
}

/** The checksum of a stream WITH CHECKSUM. */
function sum(stream: Buffer): Buffer {
  let state = 0
  for (let sector = 2; sector < stream.length; sector += 512) {
    state = (state << 1) | (state >>> 31)
    for (let word = sector; word < sector + 512; word += 4) state ^= stream.readInt32LE(word)
  }
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(state)
  return bytes
}

function tape(name: string, writtenAt: string, fileMarkSectors: number): Buffer {
  const bytes = Buffer.alloc(42)
  bytes.writeUInt32LE(randomBytes(4).readUInt32LE(), 0)
  bytes.writeUInt16LE(5, 4)
  bytes.writeUInt16LE(1, 8)
  bytes.writeUInt16LE(fileMarkSectors, 12)
  bytes.writeUInt16LE(3, 14)
  bytes.writeUInt16LE(BLOCK, 32)
  bytes.writeUInt16LE(4608, 34)
  date(writtenAt).copy(bytes, 36)
  bytes[41] = 1
  return texts(bytes, 52, [
    [name, 16],
    ['Microsoft SQL Server', 28],
  ])
}

function raid(mediaSetGuid: string | undefined, { number, of }: { number: number; of: number }): Buffer {
  // What follows the GUID is to the letter that of a real file of one stripe; where the numbers of several stand is a
  // guess of ours, and the reader takes nothing from it but "not one of one".
  const bytes = Buffer.from('00000000000000000000000000000000ad0000f0010001000100000000000100', 'hex')
  guid(mediaSetGuid).copy(bytes)
  bytes.writeUInt16LE(number, 20)
  bytes.writeUInt16LE(of, 22)
  return bytes
}

function sset({ name = '', user = 'sa' }: MtfContents, setGuid: Buffer, number: number, startedAt: string): Buffer {
  const bytes = Buffer.alloc(70)
  bytes.writeUInt32LE(4, 0)
  bytes.writeUInt16LE(number, 10)
  date(startedAt).copy(bytes, 36)
  setGuid.copy(bytes, 48)
  return texts(bytes, 52, [
    [name, 12],
    [user, 24],
  ])
}

function scin(set: MtfContents, { fork, family }: { fork: Buffer; family: Buffer }, size: number): Buffer {
  const bytes = Buffer.alloc(346)
  bytes.write('SCIN', 0, 'latin1')
  bytes.writeUInt16LE(0x19a, 4)
  bytes.writeUInt32LE(0x200 | (set.kind === 'differential' ? 0x800 : 0) | (set.checksum ? 0x10 : 0), 8)
  const [major, minor, build] = (set.build ?? '15.0.4123').split('.').map(Number) as [number, number, number]
  bytes.writeUInt16LE(build, 24)
  bytes[26] = minor
  bytes[27] = major
  const base = set.databaseBackupLsn ?? 0n
  const lsns = [set.firstLsn, set.lastLsn, set.checkpointLsn, base]
  lsns.forEach((one, index) => {
    lsn(one).copy(bytes, 32 + 10 * index)
  })
  date(set.createdAt ?? '2026-01-01T00:00:00').copy(bytes, 72)
  date(set.startedAt ?? STARTED_AT).copy(bytes, 77)
  if (set.finishedAt) date(set.finishedAt).copy(bytes, 82)
  bytes.write(KIND[set.kind], 87, 'latin1')
  bytes[91] = set.compatibilityLevel ?? 150
  bytes.writeUInt16LE(set.databaseVersion ?? 904, 94)
  bytes.writeBigUInt64LE(BigInt(size), 96)
  fork.copy(bytes, 156)
  family.copy(bytes, 224)
  if (set.forkedFrom) {
    lsn(set.forkedFrom.lsn).copy(bytes, 172)
    guid(set.forkedFrom.guid).copy(bytes, 184)
  }
  if (set.kind === 'differential') lsn(set.differentialBaseLsn ?? base).copy(bytes, 260)
  return texts(bytes, 0, [
    [set.database, 104],
    [set.server ?? 'SQL1', 108],
  ])
}
