import { BackupError, type Finding, type MemberToInspect } from '@taskflow-backup/core'
import { readIndex, readPageHashesHeader } from './changes/format.ts'
import { HASH_BYTES, hashPage, PageTable, wordsOf } from './changes/page-table.ts'
import { readerOf } from './changes/read-exactly.ts'
import { HEADER_BYTES, parseHeader } from './child/header.ts'
import { CHANGES_SUFFIX, PAGE_HASHES_SUFFIX } from './members.ts'

const CHECK = 'sqlite-format'

/** Checks the format of a member without SQLite. */
export async function inspectMember(member: MemberToInspect): Promise<Finding[]> {
  const { name, body } = member
  const inspect = name.endsWith(PAGE_HASHES_SUFFIX)
    ? inspectPageHashes
    : name.endsWith(CHANGES_SUFFIX)
      ? inspectChanges
      : inspectImage
  try {
    return [{ check: CHECK, severity: 'ok', message: `${name} ${await inspect(member)}` }]
  } catch (error) {
    // Only what is said here: a body that fails has a reason of its own.
    if (!(error instanceof WrongFormat || (error instanceof BackupError && error.code === 'MEMBER_DAMAGED')))
      throw error
    if (body.errored) throw body.errored
    return [{ check: CHECK, severity: 'error', message: `${name}: ${error.message}` }]
  } finally {
    body.destroy()
  }
}

class WrongFormat extends Error {}

/** The header, the first page, and that there are as many pages as it tells. */
async function inspectImage({ body, plainBytes }: MemberToInspect): Promise<string> {
  let start = Buffer.alloc(0)
  let bytes = 0
  for await (const piece of body as AsyncIterable<Buffer>) {
    if (start.length <= HEADER_BYTES) start = Buffer.concat([start, piece.subarray(0, HEADER_BYTES + 1)])
    bytes += piece.length
  }
  if (bytes !== plainBytes) throw new WrongFormat(`It has ${bytes} bytes instead of ${plainBytes}.`)
  const header = parseHeader(start)
  if (typeof header === 'string') throw new WrongFormat(header)
  const pages = bytes / header.pageSize
  if (!Number.isInteger(pages))
    throw new WrongFormat(`Its ${bytes} bytes are not a whole number of pages of ${header.pageSize}.`)
  if (header.pageCount !== undefined && header.pageCount !== pages)
    throw new WrongFormat(`It has ${pages} pages, its header tells ${header.pageCount}.`)
  // The first page is the root of the schema's table, which is a leaf or an interior page.
  if (start[HEADER_BYTES] !== 0x0d && start[HEADER_BYTES] !== 0x05)
    throw new WrongFormat('Its first page is no page of a table.')
  return `is a SQLite database of ${pages} pages of ${header.pageSize} bytes.`
}

/** The header, and that the hashes lead to the state that it tells. */
async function inspectPageHashes({ body }: MemberToInspect): Promise<string> {
  const read = readerOf(body)
  const { pageSize, pageCount, state } = await readPageHashesHeader(read)
  const table = PageTable.from(pageSize, await read(pageCount * HASH_BYTES))
  await refuseMore(read.rest())
  if (table.state !== state)
    throw new WrongFormat(`Its hashes lead to the state ${table.state}, its header tells ${state}.`)
  return `has the hashes of ${pageCount} pages of ${pageSize} bytes.`
}

/** The index, and that each page image has the hash that the index tells. */
async function inspectChanges({ body }: MemberToInspect): Promise<string> {
  const read = readerOf(body)
  const { pageSize, pages, hashes, steps } = await readIndex(read)
  const words = wordsOf(hashes)
  for (let i = 0; i < pages.length; i++) {
    const hash = hashPage(await read(pageSize))
    if (hash.some((word, at) => word !== words[i * hash.length + at]))
      throw new WrongFormat(`The image of page ${pages[i]} has another hash than its index tells.`)
  }
  await refuseMore(read.rest())
  return `has ${pages.length} changed pages of ${pageSize} bytes, in ${steps.length} steps.`
}

async function refuseMore(rest: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const { length } of rest) if (length > 0) throw new WrongFormat('It is longer than it tells.')
}
