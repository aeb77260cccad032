import { Cursor } from './bytes.ts'
import type { Value } from './types.ts'

export interface Parameter {
  /** With its `@`. */
  readonly name: string
  readonly value: Value
}

export interface Rpc {
  /** A name, or the number of a well-known procedure. */
  readonly procedure: string | number
  readonly parameters: readonly Parameter[]
}

export const SP_EXECUTESQL = 10

/** After ALL_HEADERS: which procedure, with what. */
export function parseRpc(payload: Buffer): Rpc {
  const cursor = new Cursor(payload, payload.readUInt32LE(0))
  const length = cursor.u16()
  const procedure = length === 0xffff ? cursor.u16() : cursor.utf16(length)
  cursor.u16()
  const parameters: Parameter[] = []
  while (!cursor.ended) {
    const name = cursor.utf16(cursor.u8())
    cursor.u8()
    parameters.push({ name, value: readValue(cursor) })
  }
  return { procedure, parameters }
}

/** TYPE_INFO and a value, in the types that clients send parameters in. */
function readValue(cursor: Cursor): Value {
  const type = cursor.u8()
  switch (type) {
    case 0x1f:
      return null
    case 0xe7:
      return readText(cursor, (bytes) => bytes.toString('utf16le'), true)
    case 0xa7:
      return readText(cursor, (bytes) => bytes.toString('latin1'), true)
    case 0xa5:
      return readText(cursor, (bytes) => Buffer.from(bytes), false)
    case 0x26:
      return readInteger(cursor)
    case 0x68:
      cursor.u8()
      return cursor.u8() ? cursor.u8() !== 0 : null
    case 0x6d:
      cursor.u8()
      return readFloat(cursor)
    case 0x6a:
    case 0x6c:
      return readNumeric(cursor)
    case 0x6f:
      cursor.u8()
      return readDatetime(cursor)
    case 0x2a:
      return readDatetime2(cursor, 3)
    case 0x2b:
      return readDatetime2(cursor, 5)
    case 0x24:
      cursor.u8()
      return readGuid(cursor)
    default:
      throw new Error(`a parameter of TDS type 0x${type.toString(16)} is not read here`)
  }
}

function readText<T extends string | Buffer>(cursor: Cursor, made: (bytes: Buffer) => T, collated: boolean): T | null {
  const maximum = cursor.u16()
  if (collated) cursor.take(5)
  if (maximum === 0xffff) {
    const bytes = readChunks(cursor)
    return bytes && made(bytes)
  }
  const length = cursor.u16()
  return length === 0xffff ? null : made(cursor.take(length))
}

function readChunks(cursor: Cursor): Buffer | null {
  if (cursor.u64() === 0xffffffffffffffffn) return null
  const chunks: Buffer[] = []
  for (let length = cursor.u32(); length; length = cursor.u32()) chunks.push(cursor.take(length))
  return Buffer.concat(chunks)
}

function readInteger(cursor: Cursor): number | bigint | null {
  cursor.u8()
  const length = cursor.u8()
  if (!length) return null
  const bytes = cursor.take(length)
  if (length === 8) return bytes.readBigInt64LE(0)
  return length === 1 ? bytes.readUInt8(0) : bytes.readIntLE(0, length)
}

function readFloat(cursor: Cursor): number | null {
  const length = cursor.u8()
  if (!length) return null
  const bytes = cursor.take(length)
  return length === 4 ? bytes.readFloatLE(0) : bytes.readDoubleLE(0)
}

function readNumeric(cursor: Cursor): string | null {
  cursor.u8()
  cursor.u8()
  const scale = cursor.u8()
  const length = cursor.u8()
  if (!length) return null
  const sign = cursor.u8() ? '' : '-'
  let number = 0n
  for (const byte of Buffer.from(cursor.take(length - 1)).reverse()) number = (number << 8n) | BigInt(byte)
  const digits = number.toString().padStart(scale + 1, '0')
  return scale ? `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}` : sign + digits
}

function readDatetime(cursor: Cursor): Date | null {
  if (!cursor.u8()) return null
  const days = cursor.i32()
  return new Date(Date.UTC(1900, 0, 1 + days) + Math.round(cursor.u32() / 0.3))
}

/** Of datetimeoffset, too: its time is in UTC, and the zone that stands after it does not matter here. */
function readDatetime2(cursor: Cursor, dateLength: 3 | 5): Date | null {
  const scale = cursor.u8()
  const length = cursor.u8()
  if (!length) return null
  let ticks = 0
  for (const byte of Buffer.from(cursor.take(length - dateLength)).reverse()) ticks = ticks * 256 + byte
  const days = cursor.take(dateLength).readUIntLE(0, 3)
  return new Date(Date.parse('0001-01-01T00:00:00Z') + days * 86_400_000 + Math.floor(ticks / 10 ** (scale - 3)))
}

function readGuid(cursor: Cursor): string | null {
  if (!cursor.u8()) return null
  const bytes = Buffer.from(cursor.take(16))
  for (const [from, to] of [
    [0, 4],
    [4, 6],
    [6, 8],
  ] as const)
    bytes.subarray(from, to).reverse()
  return bytes
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    .toUpperCase()
}
