import { BackupError } from '@taskflow-backup/core'
import type { ChangesIndex, Step } from './format.ts'
import { hashPage, type PageTable } from './page-table.ts'

/** Commits that follow on one another in a list of changes, and where their pages are in it. */
export interface Commits {
  /** Of the first page in the list. */
  readonly first: number
  readonly commits: Step['commits']
}

/** What a row of commits leaves of the pages that it wrote. */
export interface Outcome {
  /** Pages of the database at the end, and the fewest that it had after any of the commits. */
  readonly pageCount: number
  readonly fewest: number
  /** Number of pages in the list that belong to the commits. */
  readonly written: number
  /** For each of them 1 when it is still there at the end, 0 when it was written again or cut off. */
  readonly kept: Uint8Array
}

/** SQLite's own limit. */
const MOST_PAGES = 0xfffffffe

/** How many pages commits wrote. */
export const pagesOf = (commits: Step['commits']): number => commits.reduce((sum, [, written]) => sum + written, 0)

/** Looks through commits from the last to the first. @throws `MEMBER_DAMAGED` when a number of pages is none */
export function outcomeOf(pages: Uint32Array, { first, commits }: Commits): Outcome {
  const written = pagesOf(commits)
  const pageCount = commits.at(-1)?.[0] ?? 0
  if (commits.some(([count]) => count > MOST_PAGES)) throw tooLong()
  const kept = new Uint8Array(written)
  const seen = new Uint8Array((pageCount >>> 3) + 1)
  let fewest = pageCount
  let at = written
  for (let i = commits.length - 1; i >= 0; i--) {
    const [count, own] = commits[i] as Step['commits'][number]
    if (count < fewest) fewest = count
    for (const from = at - own; at > from; ) {
      const page = pages[first + --at] as number
      if (page > fewest || page === 0) continue
      const [byte, bit] = [page >>> 3, 1 << (page & 7)]
      if (((seen[byte] as number) & bit) !== 0) continue
      seen[byte] = (seen[byte] as number) | bit
      kept[at] = 1
    }
  }
  return { pageCount, fewest, written, kept }
}

/** Takes commits over into a table; `hashes` are those of the index, as words. @throws `MEMBER_DAMAGED` when a number of pages is none */
export function replay(
  table: PageTable,
  { pages }: ChangesIndex,
  hashes: Uint32Array,
  { first, commits }: Commits,
): void {
  let at = first
  for (const [pageCount, written] of commits) {
    if (pageCount > MOST_PAGES) throw tooLong()
    table.resize(pageCount)
    for (const end = at + written; at < end; at++) {
      const page = pages[at] as number
      if (page > 0 && page <= pageCount) table.set(page, hashes, at * 4)
    }
  }
}

/** Whether the hash of a page is the one at `at` in the words of an index. */
export function isHash(image: Uint8Array, words: Uint32Array, at: number): boolean {
  const hash = hashPage(image)
  for (let i = 0; i < hash.length; i++) if (hash[i] !== words[at * hash.length + i]) return false
  return true
}

const tooLong = (): BackupError => new BackupError('MEMBER_DAMAGED', 'It tells of more pages than a database can have.')
