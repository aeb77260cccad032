import { bVarchar, u8, u16, u32, u64, usVarchar } from './bytes.ts'

/** SQL_Latin1_General_CP1_CI_AS, as ENVCHANGE and column metadata carry it. */
export const COLLATION = Buffer.from([0x09, 0x04, 0xd0, 0x00, 0x34])

export const DONE = { final: 0, more: 0x01, error: 0x02, count: 0x10, attention: 0x20 } as const

/** What INFO and ERROR tokens say. */
export interface ServerMessage {
  readonly number: number
  readonly message: string
  /** Severity. Up to 10 is information, from 11 on an error. */
  readonly class: number
  readonly state?: number
  readonly line?: number
}

/** INFO or ERROR, by severity. */
export function messageToken(said: ServerMessage, server: string): Buffer {
  const body = [
    u32(said.number),
    u8(said.state ?? 1),
    u8(said.class),
    usVarchar(said.message),
    bVarchar(server),
    bVarchar(''),
    u32(said.line ?? 1),
  ]
  return withLength(said.class > 10 ? 0xaa : 0xab, Buffer.concat(body))
}

export function doneToken(kind: 'batch' | 'procedure' | 'in-procedure', status: number, rows?: number): Buffer {
  const type = { batch: 0xfd, procedure: 0xfe, 'in-procedure': 0xff }[kind]
  const counted = rows === undefined ? 0 : DONE.count
  return Buffer.concat([u8(type), u16(status | counted), u16(0), u64(BigInt(rows ?? 0))])
}

export const returnStatusToken = (status: number): Buffer => Buffer.concat([u8(0x79), u32(status)])

export const environment = {
  database: (now: string, before: string): Buffer => change(1, bVarchar(now), bVarchar(before)),
  packetSize: (now: number, before: number): Buffer => change(4, bVarchar(String(now)), bVarchar(String(before))),
  collation: (): Buffer => change(7, Buffer.concat([u8(COLLATION.length), COLLATION]), u8(0)),
  begun: (transaction: bigint): Buffer => change(8, descriptor(transaction), u8(0)),
  committed: (transaction: bigint): Buffer => change(9, u8(0), descriptor(transaction)),
  rolledBack: (transaction: bigint): Buffer => change(10, u8(0), descriptor(transaction)),
  reset: (): Buffer => change(18, u8(0), u8(0)),
}

export function loginAckToken(version: readonly [number, number, number]): Buffer {
  const [major, minor, build] = version
  const program = Buffer.from([major, minor, build >> 8, build & 0xff])
  const tds74 = Buffer.from([0x74, 0x00, 0x00, 0x04])
  return withLength(0xad, Buffer.concat([u8(1), tds74, bVarchar('Microsoft SQL Server'), program]))
}

const descriptor = (transaction: bigint): Buffer => Buffer.concat([u8(8), u64(transaction)])
const change = (kind: number, now: Buffer, before: Buffer): Buffer =>
  withLength(0xe3, Buffer.concat([u8(kind), now, before]))
const withLength = (type: number, body: Buffer): Buffer => Buffer.concat([u8(type), u16(body.length), body])
