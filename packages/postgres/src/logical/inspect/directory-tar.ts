import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { extract, type Header } from 'tar-stream'
import { isDumpFile } from '../directory-format.ts'
import { DumpDamage, DumpReader } from './dump-reader.ts'
import { readTableOfContents, type TableOfContents } from './table-of-contents.ts'

const BLOCK_BYTES = 512
const END_BYTES = 2 * BLOCK_BYTES
const SUFFIXES = ['', '.gz', '.lz4', '.zst']

export interface DirectoryFacts {
  readonly version: string
  readonly serverVersion: string
  readonly entries: number
  readonly files: number
}

/**
 * Reads the tar of a dump in the directory format: its table of contents, the lists of large objects, and that every
 * file that these name is there. The lists come before what they list.
 *
 * @throws {DumpDamage}
 */
export async function readDirectoryTar(body: Readable): Promise<DirectoryFacts> {
  const found: Found = { present: new Set(), wanted: new Set() }
  let bytes = 0
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const piece of body as AsyncIterable<Buffer>) {
      bytes += piece.length
      yield piece
    }
  }
  const tar = extract()
  const source = Readable.from(counted(), { objectMode: false })
  source.once('error', (error) => tar.destroy(error))
  source.pipe(tar)
  let length = END_BYTES
  try {
    for await (const entry of tar) {
      length += BLOCK_BYTES + Math.ceil((entry.header.size ?? 0) / BLOCK_BYTES) * BLOCK_BYTES
      await readEntry(entry.header, entry as unknown as Readable, found)
      entry.resume()
    }
  } catch (error) {
    if (error instanceof DumpDamage || body.errored) throw error
    throw new DumpDamage(`It is no whole tar: ${error instanceof Error ? error.message : String(error)}.`)
  }
  // Two blocks of zeros end a tar; one that is cut off between two files looks whole otherwise.
  if (bytes < length) throw new DumpDamage(`It ends in the middle, after ${bytes} bytes.`)
  const { contents, present, wanted } = found
  if (!contents) throw new DumpDamage('It has no toc.dat.')
  const missing = [...wanted].filter((file) => !SUFFIXES.some((suffix) => present.has(file + suffix)))
  if (missing.length > 0) throw new DumpDamage(`It is without ${missing.length} files, for example ${missing[0]}.`)
  const { version, serverVersion, entries } = contents
  return { version, serverVersion, entries, files: present.size }
}

/** Files that are there, and files that the lists among them name. */
interface Found {
  readonly present: Set<string>
  readonly wanted: Set<string>
  contents?: TableOfContents
}

async function readEntry({ name, type }: Header, body: Readable, found: Found): Promise<void> {
  if (type !== 'file' || !isDumpFile(name)) throw new DumpDamage(`It has an entry that does not belong there: ${name}.`)
  if (found.present.has(name)) throw new DumpDamage(`It has ${name} twice.`)
  found.present.add(name)
  if (name === 'toc.dat') {
    found.contents = await readContents(body)
    for (const file of found.contents.files) found.wanted.add(file)
  } else if (name.endsWith('.toc')) {
    for await (const line of createInterface({ input: body })) found.wanted.add(line.slice(line.indexOf(' ') + 1))
  }
}

async function readContents(entry: AsyncIterable<Buffer>): Promise<TableOfContents> {
  const reader = new DumpReader(entry)
  const contents = await readTableOfContents(reader, 'directory')
  if (!(await reader.isAtEnd())) throw new DumpDamage('There is something behind its table of contents.')
  return contents
}
