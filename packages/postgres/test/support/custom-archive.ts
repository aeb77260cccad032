import { deflateSync, zstdCompressSync } from 'node:zlib'

// Writes archives as `pg_dump --format=custom` does, of every version of the format: the programs that are installed
// write only one of them.

export interface ArchiveOptions {
  /** 12 to 16. */
  readonly minor: number
  readonly compression: 'none' | 'gzip' | 'zstd' | 'lz4'
  /** Rows of each table. */
  readonly tables: readonly (readonly string[])[]
  readonly largeObjects: readonly Buffer[]
}

export interface Archive {
  readonly bytes: Buffer
  /** Places of bytes that give the archive its structure: what is changed there must be found. */
  readonly structure: readonly number[]
}

const LZ4_FRAME = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0, 0])

class ArchiveWriter {
  readonly #parts: Buffer[] = []
  readonly structure: number[] = []
  #length = 0

  raw(bytes: Buffer, structural = false): void {
    if (structural) for (let at = 0; at < bytes.length; at++) this.structure.push(this.#length + at)
    this.#parts.push(bytes)
    this.#length += bytes.length
  }

  byte(value: number, structural = true): void {
    this.raw(Buffer.from([value]), structural)
  }

  int(value: number, structural = true): void {
    const bytes = Buffer.alloc(5)
    bytes[0] = value < 0 ? 1 : 0
    bytes.writeUInt32LE(Math.abs(value), 1)
    this.raw(bytes, structural)
  }

  text(value: string | null): void {
    if (value === null) this.int(-1, false)
    else {
      this.int(Buffer.byteLength(value))
      this.raw(Buffer.from(value))
    }
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

export function writeArchive({ minor, compression, tables, largeObjects }: ArchiveOptions): Archive {
  const writer = new ArchiveWriter()
  writer.raw(Buffer.from('PGDMP'), true)
  writer.byte(1)
  writer.byte(minor, false)
  writer.byte(0, false)
  writer.byte(4)
  writer.byte(8)
  writer.byte(1)
  if (minor >= 15) writer.byte({ none: 0, gzip: 1, lz4: 2, zstd: 3 }[compression])
  else writer.int(compression === 'none' ? 0 : -1, false)
  for (const field of [12, 34, 5, 22, 10, 126, 0]) writer.int(field, false)
  for (const text of ['tasks', '15.18', '15.18 (of a test)']) writer.text(text)
  const entry = (id: number, hasData: boolean): void => {
    writer.int(id, hasData)
    writer.int(hasData ? 1 : 0)
    for (const text of ['1259', String(16_000 + id), `entry ${id}`, 'TABLE DATA']) writer.text(text)
    writer.int(3, false)
    for (const text of ['', '', hasData ? 'COPY …' : null, 'public', '']) writer.text(text)
    if (minor >= 14) writer.text('heap')
    if (minor >= 16) writer.int(114, false)
    writer.text('postgres')
    writer.text('false')
    writer.text('7')
    writer.text(null)
    writer.byte(hasData ? 1 : 3)
    writer.raw(Buffer.alloc(8))
  }
  const ids = tables.map((_, index) => 100 + index)
  writer.int(ids.length + 2)
  entry(7, false)
  for (const id of ids) entry(id, true)
  entry(900, largeObjects.length > 0)
  const chunks = (rows: readonly Buffer[]): void => {
    const packed = pack(rows, compression)
    for (const chunk of packed) {
      writer.int(chunk.length)
      writer.raw(chunk)
    }
    writer.int(0)
  }
  for (const [index, rows] of tables.entries()) {
    writer.byte(1)
    writer.int(ids[index] as number)
    chunks(rows.map((row) => Buffer.from(`${row}\n`)))
  }
  if (largeObjects.length > 0) {
    writer.byte(3)
    writer.int(900)
    for (const [index, object] of largeObjects.entries()) {
      writer.int(5_000 + index, false)
      chunks([object])
    }
    writer.int(0)
  }
  return { bytes: writer.bytes(), structure: writer.structure }
}

/** The chunks of one stream of data: a row each when it is not compressed, pieces of a few bytes when it is. */
function pack(rows: readonly Buffer[], compression: ArchiveOptions['compression']): Buffer[] {
  if (compression === 'none') return rows.filter((row) => row.length > 0)
  const plain = Buffer.concat(rows)
  const packed =
    compression === 'gzip'
      ? deflateSync(plain)
      : compression === 'zstd'
        ? zstdCompressSync(plain)
        : Buffer.concat([LZ4_FRAME, plain])
  return Array.from({ length: Math.ceil(packed.length / 50) }, (_, i) => packed.subarray(i * 50, i * 50 + 50))
}
