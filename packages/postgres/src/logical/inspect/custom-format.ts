import { type Decoder, decoderFor, type NewSyncInflate } from './decoder.ts'
import { DumpDamage, DumpReader } from './dump-reader.ts'
import { readTableOfContents } from './table-of-contents.ts'

const DATA = 1
const LARGE_OBJECTS = 3

/** What a whole archive holds. */
export interface CustomFacts {
  readonly version: string
  readonly serverVersion: string
  readonly entries: number
  /** Blocks of tables, and large objects. */
  readonly tables: number
  readonly largeObjects: number
}

/**
 * Reads an archive of `pg_dump --format=custom` from its begin to its end: the table of contents and every block of
 * data, inflated where it is compressed. Nothing larger than a piece of the source is held.
 *
 * @throws {DumpDamage}
 */
export async function readCustomFormat(
  source: AsyncIterable<Buffer>,
  newSyncInflate?: NewSyncInflate,
): Promise<CustomFacts> {
  const reader = new DumpReader(source)
  const { version, serverVersion, entries, compression, withData } = await readTableOfContents(reader, 'custom')
  const missing = new Set(withData)
  let tables = 0
  let largeObjects = 0
  while (!(await reader.isAtEnd())) {
    const type = reader.byteNow()
    const id = await reader.int()
    if (!missing.delete(id))
      throw new DumpDamage(
        withData.has(id)
          ? `The data of entry ${id} is there twice.`
          : `There is data of an entry ${id}, which is not in the table of contents.`,
      )
    if (type === DATA) {
      await readChunks(reader, decoderFor(compression, newSyncInflate), `entry ${id}`)
      tables++
    } else if (type === LARGE_OBJECTS) {
      largeObjects += await readLargeObjects(reader, () => decoderFor(compression, newSyncInflate))
    } else {
      throw new DumpDamage(`There is a block of the sort ${type} at byte ${reader.position}.`)
    }
  }
  if (missing.size > 0)
    throw new DumpDamage(`It ends without the data of ${missing.size} entries, the first is ${[...missing][0]}.`)
  return { version, serverVersion, entries, tables, largeObjects }
}

async function readLargeObjects(reader: DumpReader, newDecoder: () => Decoder | undefined): Promise<number> {
  let count = 0
  // Their numbers are unsigned; the largest look negative.
  for (let oid = await reader.int(); oid !== 0; oid = await reader.int()) {
    await readChunks(reader, newDecoder(), `large object ${oid}`)
    count++
  }
  return count
}

/** The data of one entry: chunks with their length before them, up to one of length 0. */
async function readChunks(reader: DumpReader, decoder: Decoder | undefined, what: string): Promise<void> {
  const look = decoder && ((piece: Buffer) => decoder.push(piece))
  try {
    for (;;) {
      // Without waiting wherever that is possible: with no compression every row is a chunk.
      if (reader.available < 5) await reader.need(5)
      const length = reader.intNow()
      if (length === 0) break
      if (length < 0) throw new DumpDamage(`There is a chunk of ${length} bytes at byte ${reader.position}.`)
      await reader.take(length, look)
    }
    await decoder?.end()
  } catch (error) {
    decoder?.close()
    if (error instanceof DumpDamage) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new DumpDamage(`The data of ${what} cannot be inflated: ${reason}.`)
  }
}
