import { writeFileSync } from 'node:fs'
import { encodePageHashesHeader, type LogMark } from '../changes/format.ts'
import { hashPage, type PageTable } from '../changes/page-table.ts'

/** Notes the hashes of all pages of `chunk`, the first of which is page `first`. */
export function hashPages(chunk: Buffer, first: number, table: PageTable): void {
  const { pageSize } = table
  for (let page = first, at = 0; at < chunk.length; page++, at += pageSize) {
    table.set(page, hashPage(chunk.subarray(at, at + pageSize)))
  }
}

/** Writes the member `.pagehashes` to a new file with mode 0600. */
export function writePageHashes(path: string, table: PageTable, mark: LogMark | undefined): void {
  const { pageSize, pageCount, state, bytes } = table
  const header = encodePageHashesHeader({ pageSize, pageCount, state, ...(mark && { mark }) })
  writeFileSync(path, header, { flag: 'wx', mode: 0o600 })
  writeFileSync(path, bytes, { flag: 'a' })
}
