import { DumpDamage, type DumpReader } from './dump-reader.ts'

/** Versions of the format: 1.12 is PostgreSQL 9.0, 1.16 is 17 and 18. */
const OLDEST_MINOR = 12
const NEWEST_MINOR = 16

const CUSTOM = 1
/** A `toc.dat` of the directory format says that it is of the format tar. */
const DIRECTORY = 3
const COMPRESSIONS = ['none', 'gzip', 'lz4', 'zstd'] as const
export type DumpCompression = (typeof COMPRESSIONS)[number]

/** A file name is short; nothing longer is kept in memory. */
const NAME_BYTES = 1024
const VERSION_BYTES = 256
const NO_DATA = 3

export interface DumpHeader {
  readonly version: string
  readonly compression: DumpCompression
  /** Of the server, as it said. */
  readonly serverVersion: string
}

export interface TableOfContents extends DumpHeader {
  readonly entries: number
  /** Numbers of the entries that have data. */
  readonly withData: ReadonlySet<number>
  /** Files with data; in the directory format only. */
  readonly files: readonly string[]
}

/**
 * Reads what is at the begin of every archive of `pg_dump`: header and table of contents.
 *
 * @throws {DumpDamage}
 */
export async function readTableOfContents(
  reader: DumpReader,
  format: 'custom' | 'directory',
): Promise<TableOfContents> {
  await reader.need(11)
  const magic = Array.from({ length: 5 }, () => String.fromCharCode(reader.byteNow())).join('')
  if (magic !== 'PGDMP') throw new DumpDamage('It does not begin like an archive of pg_dump.')
  const [major, minor, revision, intSize, offsetSize, kind] = Array.from({ length: 6 }, () => reader.byteNow()) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const version = `${major}.${minor}.${revision}`
  if (major !== 1 || minor < OLDEST_MINOR || minor > NEWEST_MINOR)
    throw new DumpDamage(`It has the format ${version}, which is not known.`)
  if (intSize !== 4 || (offsetSize !== 8 && offsetSize !== 4))
    throw new DumpDamage(`It has numbers of ${intSize} and ${offsetSize} bytes.`)
  if (kind !== (format === 'custom' ? CUSTOM : DIRECTORY)) throw new DumpDamage(`It is of the format ${kind}.`)
  const compression = await readCompression(reader, minor)
  await readDate(reader)
  await reader.skipText() // the name of the database
  const serverVersion = (await reader.text(VERSION_BYTES)) ?? ''
  await reader.skipText() // the version of pg_dump
  const entries = await reader.int()
  if (entries < 0) throw new DumpDamage(`It tells of ${entries} entries.`)
  const ids = new Set<number>()
  const withData = new Set<number>()
  const files: string[] = []
  for (let entry = 0; entry < entries; entry++) {
    const { id, hasData, file } = await readEntry(reader, minor, format, offsetSize)
    if (ids.has(id)) throw new DumpDamage(`Two entries have the number ${id}.`)
    ids.add(id)
    if (hasData) withData.add(id)
    if (file) files.push(file)
  }
  return { version, compression, serverVersion, entries, withData, files }
}

async function readCompression(reader: DumpReader, minor: number): Promise<DumpCompression> {
  // Up to 1.14 there is a level of gzip: -1 is its default, 0 is none.
  const number = minor >= 15 ? await reader.byte() : (await reader.int()) === 0 ? 0 : 1
  const compression = COMPRESSIONS[number]
  if (!compression) throw new DumpDamage(`It has the compression ${number}, which is not known.`)
  return compression
}

async function readDate(reader: DumpReader): Promise<void> {
  const fields: number[] = []
  for (let i = 0; i < 7; i++) fields.push(await reader.int())
  const [second, minute, hour, day, month, year] = fields as [number, number, number, number, number, number]
  const within = (value: number, least: number, most: number): boolean => value >= least && value <= most
  const good = within(second, 0, 60) && within(minute, 0, 59) && within(hour, 0, 23) && within(day, 1, 31)
  if (!good || !within(month, 0, 11) || !within(year, 90, 8_000)) throw new DumpDamage('It has no date.')
}

interface Entry {
  readonly id: number
  readonly hasData: boolean
  readonly file?: string
}

async function readEntry(
  reader: DumpReader,
  minor: number,
  format: 'custom' | 'directory',
  offsetSize: number,
): Promise<Entry> {
  const id = await reader.int()
  if (id <= 0) throw new DumpDamage(`An entry has the number ${id}.`)
  const dumper = await reader.int()
  if (dumper !== 0 && dumper !== 1) throw new DumpDamage(`The entry ${id} has ${dumper} sources.`)
  // table's number, object's number, name, sort
  for (let i = 0; i < 4; i++) await reader.skipText()
  const section = await reader.int()
  if (section < 1 || section > 4) throw new DumpDamage(`The entry ${id} is in section ${section}.`)
  // definition, drop statement, copy statement, schema, tablespace, access method since 1.14
  for (let i = 0; i < (minor >= 14 ? 6 : 5); i++) await reader.skipText()
  if (minor >= 16) await reader.int() // sort of relation
  await reader.skipText() // owner
  await reader.skipText() // with oids
  while (await reader.skipText()); // dependencies, up to a null
  if (format === 'directory') {
    const file = (await reader.text(NAME_BYTES)) ?? ''
    return { id, hasData: file !== '', ...(file !== '' && { file }) }
  }
  const state = await reader.byte()
  if (state < 1 || state > NO_DATA) throw new DumpDamage(`The entry ${id} has data in the state ${state}.`)
  if ((state === NO_DATA) !== (dumper === 0))
    throw new DumpDamage(`The entry ${id} has ${dumper} sources, and data in the state ${state}.`)
  await reader.take(offsetSize)
  return { id, hasData: state !== NO_DATA }
}
