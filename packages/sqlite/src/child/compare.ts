import { FRAME_BYTES } from '@taskflow-backup/core'
import { hashPage, type PageTable } from '../changes/page-table.ts'
import type { ChangeStore } from './change-store.ts'
import type { Image } from './image.ts'
import type { Snapshot } from './snapshot.ts'

/**
 * Puts every page of `snapshot` that differs from `table` into `store`, as one commit, and brings `table` up to date.
 * Sound whatever happened to the file since. When it throws, `table` is of no use any more.
 *
 * @throws what reading the snapshot throws, `TARGET_INVALID`
 */
export function compareDatabase(snapshot: Snapshot, table: PageTable, store: ChangeStore): { pages: number } {
  const { pageSize, pageCount } = snapshot
  const perChunk = FRAME_BYTES / pageSize
  const before = begin(pageCount, table, store)
  let pages = 0
  for (let first = 1; first <= pageCount; first += perChunk) {
    pages += compareChunk(snapshot.readPages(first, Math.min(perChunk, pageCount - first + 1)), first, table, store)
  }
  return end(pages, before, table, store)
}

/** The same with an image, of whichever kind. */
export async function compareImage(
  image: Image,
  table: PageTable,
  store: ChangeStore,
  onProgress: (bytes: number, totalBytes: number) => void,
): Promise<{ pages: number }> {
  const { pageSize, pageCount } = image
  const before = begin(pageCount, table, store)
  let pages = 0
  let first = 1
  for await (const chunk of image.chunks({ maySpool: false })) {
    pages += compareChunk(chunk, first, table, store)
    first += chunk.length / pageSize
    onProgress((first - 1) * pageSize, pageCount * pageSize)
  }
  return end(pages, before, table, store)
}

function begin(pageCount: number, table: PageTable, store: ChangeStore): number {
  const before = table.pageCount
  table.resize(pageCount)
  store.begin()
  return before
}

function compareChunk(chunk: Buffer, first: number, table: PageTable, store: ChangeStore): number {
  const { pageSize } = table
  let pages = 0
  for (let page = first, at = 0; at < chunk.length; page++, at += pageSize) {
    const image = chunk.subarray(at, at + pageSize)
    const hash = hashPage(image)
    if (!table.set(page, hash)) continue
    store.add(page, hash, image)
    pages++
  }
  return pages
}

/** Nothing but another number of pages is a change as well. */
function end(pages: number, before: number, table: PageTable, store: ChangeStore): { pages: number } {
  if (pages > 0 || table.pageCount !== before) store.endCommit(table.pageCount)
  return { pages }
}
