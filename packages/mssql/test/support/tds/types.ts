import { bVarchar, u8, u16, u32, u64, utf16 } from './bytes.ts'
import { COLLATION } from './tokens.ts'

export type ColumnType =
  | 'tinyint'
  | 'smallint'
  | 'int'
  | 'bigint'
  | 'bit'
  | 'float'
  | 'nvarchar'
  | 'varchar'
  | 'nvarchar(max)'
  | 'varbinary(max)'
  | 'numeric(20,0)'
  | 'numeric(25,0)'
  | 'datetime'
  | 'datetime2'
  | 'uniqueidentifier'

export interface Column {
  readonly name: string
  readonly type: ColumnType
}

export type Value = string | number | bigint | boolean | Date | Buffer | null

interface Codec {
  readonly info: Buffer
  readonly none: Buffer
  encode(value: Exclude<Value, null>): Buffer
}

const SHORT_NULL = u8(0)
const TEXT_NULL = u16(0xffff)
const LONG_NULL = u64(0xffffffffffffffffn)
const MAXIMUM = u16(0xffff)
const DAY_MS = 86_400_000

const CODECS: { readonly [type in ColumnType]: Codec } = {
  tinyint: integer(1),
  smallint: integer(2),
  int: integer(4),
  bigint: integer(8),
  bit: { info: Buffer.from([0x68, 1]), none: SHORT_NULL, encode: (value) => Buffer.from([1, value ? 1 : 0]) },
  float: { info: Buffer.from([0x6d, 8]), none: SHORT_NULL, encode: double },
  nvarchar: text(0xe7, utf16),
  varchar: text(0xa7, (value) => Buffer.from(value, 'latin1')),
  'nvarchar(max)': long(0xe7, COLLATION, (value) => utf16(String(value))),
  'varbinary(max)': long(0xa5, Buffer.alloc(0), binary),
  'numeric(20,0)': numeric(20),
  'numeric(25,0)': numeric(25),
  datetime: { info: Buffer.from([0x6f, 8]), none: SHORT_NULL, encode: datetime },
  datetime2: { info: Buffer.from([0x2a, 7]), none: SHORT_NULL, encode: datetime2 },
  uniqueidentifier: { info: Buffer.from([0x24, 16]), none: SHORT_NULL, encode: guid },
}

/** COLMETADATA. */
export function columnsToken(columns: readonly Column[]): Buffer {
  const nullable = u16(0x0009)
  const described = columns.map(({ name, type }) =>
    Buffer.concat([u32(0), nullable, CODECS[type].info, bVarchar(name)]),
  )
  return Buffer.concat([u8(0x81), u16(columns.length), ...described])
}

/** ROW: one value per column, in their order. */
export function rowToken(columns: readonly Column[], values: readonly Value[]): Buffer {
  if (columns.length !== values.length) throw new Error(`${values.length} values for ${columns.length} columns`)
  const encoded = columns.map(({ type }, index) => {
    const value = values[index]
    return value === null || value === undefined ? CODECS[type].none : CODECS[type].encode(value)
  })
  return Buffer.concat([u8(0xd1), ...encoded])
}

function integer(size: 1 | 2 | 4 | 8): Codec {
  const encode: Codec['encode'] = (value) => {
    const whole = BigInt.asUintN(64, BigInt(typeof value === 'boolean' ? Number(value) : String(value)))
    return Buffer.concat([u8(size), u64(whole).subarray(0, size)])
  }
  return { info: Buffer.from([0x26, size]), none: SHORT_NULL, encode }
}

function numeric(precision: number): Codec {
  const size = precision > 19 ? 13 : 9
  const bytes = precision > 28 ? 17 : size
  const encode: Codec['encode'] = (value) => {
    const number = BigInt(String(value))
    const magnitude = number < 0n ? -number : number
    const low = u64(magnitude & 0xffffffffffffffffn)
    const high = u64(magnitude >> 64n)
    const digits = Buffer.concat([low, high]).subarray(0, bytes - 1)
    return Buffer.concat([u8(bytes), u8(number < 0n ? 0 : 1), digits])
  }
  return { info: Buffer.from([0x6c, bytes, precision, 0]), none: SHORT_NULL, encode }
}

function text(type: number, bytesOf: (text: string) => Buffer): Codec {
  const encode: Codec['encode'] = (value) => {
    const bytes = bytesOf(String(value))
    if (bytes.length > 8000) throw new RangeError('a short text column holds at most 8,000 bytes')
    return Buffer.concat([u16(bytes.length), bytes])
  }
  return { info: Buffer.concat([u8(type), u16(8000), COLLATION]), none: TEXT_NULL, encode }
}

/** A (max) type: its length, then chunks up to an empty one. */
function long(type: number, collation: Buffer, bytesOf: (value: Exclude<Value, null>) => Buffer): Codec {
  const encode: Codec['encode'] = (value) => {
    const bytes = bytesOf(value)
    const chunk = bytes.length ? [u32(bytes.length), bytes] : []
    return Buffer.concat([u64(BigInt(bytes.length)), ...chunk, u32(0)])
  }
  return { info: Buffer.concat([u8(type), MAXIMUM, collation]), none: LONG_NULL, encode }
}

function binary(value: Exclude<Value, null>): Buffer {
  if (!Buffer.isBuffer(value)) throw new TypeError('a varbinary value must be bytes')
  return value
}

function double(value: Exclude<Value, null>): Buffer {
  const bytes = Buffer.alloc(9)
  bytes.writeUInt8(8, 0)
  bytes.writeDoubleLE(Number(value), 1)
  return bytes
}

/** Milliseconds since 1970 of a value without a zone: its own digits count as UTC, as tedious reads them by default. */
function milliseconds(value: Exclude<Value, null>): number {
  if (value instanceof Date) return value.getTime()
  const at = Date.parse(`${String(value).replace(' ', 'T').replace(/Z$/, '')}Z`)
  if (Number.isNaN(at)) throw new TypeError(`not a date: ${String(value)}`)
  return at
}

function datetime(value: Exclude<Value, null>): Buffer {
  const since1900 = milliseconds(value) - Date.UTC(1900, 0, 1)
  const ticks = Math.round(since1900 * 0.3)
  const perDay = DAY_MS * 0.3
  const days = Math.floor(ticks / perDay)
  return Buffer.concat([u8(8), u32(days), u32(ticks - days * perDay)])
}

function datetime2(value: Exclude<Value, null>): Buffer {
  const since1 = milliseconds(value) - Date.parse('0001-01-01T00:00:00Z')
  const days = Math.floor(since1 / DAY_MS)
  const ticks = BigInt(since1 - days * DAY_MS) * 10_000n
  return Buffer.concat([u8(8), u64(ticks).subarray(0, 5), u32(days).subarray(0, 3)])
}

/** The first three groups are little endian. */
function guid(value: Exclude<Value, null>): Buffer {
  const bytes = Buffer.from(String(value).replaceAll('-', ''), 'hex')
  if (bytes.length !== 16) throw new TypeError(`not a uniqueidentifier: ${String(value)}`)
  for (const [from, to] of [
    [0, 4],
    [4, 6],
    [6, 8],
  ] as const)
    bytes.subarray(from, to).reverse()
  return Buffer.concat([u8(16), bytes])
}
