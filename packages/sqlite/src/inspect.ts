import type { Finding, MemberToInspect } from '@taskflow-backup/core'
import { HEADER_BYTES, parseHeader } from './child/header.ts'
import { inspectChanges, inspectPageHashes } from './inspect-changes.ts'
import { CHANGES_SUFFIX, PAGE_HASHES_SUFFIX } from './members.ts'

/** Checks one member of a backup without SQLite, by what its name says that it is. */
export async function inspectMember(member: MemberToInspect): Promise<Finding[]> {
  if (member.name.endsWith(CHANGES_SUFFIX)) return inspectChanges(member)
  if (member.name.endsWith(PAGE_HASHES_SUFFIX)) return inspectPageHashes(member)
  return inspectImage(member)
}

/** Checks an image without SQLite: the header, the first page, and that there are as many pages as it tells. */
async function inspectImage({ name, body, plainBytes }: MemberToInspect): Promise<Finding[]> {
  const check = 'sqlite-format'
  const error = (message: string): Finding[] => [{ check, severity: 'error', message: `${name}: ${message}` }]
  let start = Buffer.alloc(0)
  let bytes = 0
  for await (const piece of body as AsyncIterable<Buffer>) {
    if (start.length <= HEADER_BYTES) start = Buffer.concat([start, piece.subarray(0, HEADER_BYTES + 1)])
    bytes += piece.length
  }
  if (bytes !== plainBytes) return error(`It has ${bytes} bytes instead of ${plainBytes}.`)
  const header = parseHeader(start)
  if (typeof header === 'string') return error(header)
  const pages = bytes / header.pageSize
  if (!Number.isInteger(pages))
    return error(`Its ${bytes} bytes are not a whole number of pages of ${header.pageSize}.`)
  if (header.pageCount !== undefined && header.pageCount !== pages) {
    return error(`It has ${pages} pages, its header tells ${header.pageCount}.`)
  }
  // The first page is the root of the schema's table, which is a leaf or an interior page.
  if (start[HEADER_BYTES] !== 0x0d && start[HEADER_BYTES] !== 0x05)
    return error('Its first page is no page of a table.')
  return [
    { check, severity: 'ok', message: `${name} is a SQLite database of ${pages} pages of ${header.pageSize} bytes.` },
  ]
}
