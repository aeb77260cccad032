import { once } from 'node:events'
import { Socket } from 'node:net'
import { availableParallelism } from 'node:os'
import { CHANNEL_FD, compressFrame, freeFrame, inOrder, Meter } from '@taskflow-backup/core'
import { PageTable } from '../changes/page-table.ts'
import type { DatabaseFacts, ImageFacts, Jobs } from '../jobs.ts'
import { describeDatabase } from './describe.ts'
import { type Image, openImage } from './image.ts'
import { openSource } from './open-source.ts'
import { hashPages, writePageHashes } from './page-hashes.ts'

/**
 * Reads, hashes and compresses the image in this process and sends only the small result.
 *
 * Not by core's `sendCompressed`, which suits sources whose pieces are of any size. It would copy every page once more
 * into frames, about 8 % more processor time for a backup. And without compression it reads nothing ahead, so that a
 * slow destination would hold even a small database in rollback-journal mode, and its writers: see `SMALL_BYTES` of
 * image.ts.
 */
export async function sendImage(
  input: Jobs['image']['input'],
  onProgress: (bytes: number, totalBytes: number) => void,
): Promise<ImageFacts> {
  const source = openSource(input.file, input.busyTimeoutMs)
  const database: DatabaseFacts = describeDatabase(source, input.busyTimeoutMs)
  const image = await openImage(source, input)
  const { pageSize, pageCount, journalMode } = image
  const totalBytes = pageSize * pageCount
  const isPlain = input.compression.algorithm === 'none'
  const plain = new Meter()
  const stored = isPlain ? plain : new Meter()
  const table = new PageTable(pageSize, pageCount)
  const output = new Socket({ fd: CHANNEL_FD, readable: false, writable: true })
  const frames = inOrder(image.chunks(), availableParallelism() + 2, (chunk) => {
    const compressed = compressFrame(chunk, input.compression)
    // While the pool compresses it:
    hashPages(chunk, plain.bytes / pageSize + 1, table)
    plain.update(chunk)
    onProgress(plain.bytes, totalBytes)
    return compressed
  })
  for await (const frame of frames) {
    const room = output.write(frame)
    if (!isPlain) stored.update(frame)
    if (!room) await once(output, 'drain')
    if (!isPlain && output.writableLength === 0) freeFrame(frame)
  }
  output.end()
  await once(output, 'finish')
  const notes = [...image.notes]
  const kept = keepPageHashes(input.pageHashes, table, image, notes)
  return {
    database: { ...database, pageSize, pageCount, journalMode },
    plain: plain.facts(),
    stored: stored.facts(),
    method: image.method,
    consistentAt: image.consistentAt.toISOString(),
    mark: image.mark,
    ...(kept && { state: table.state }),
    notes,
  }
}

/** Without them the backup is as good; only nothing can continue it. */
function keepPageHashes(path: string | null, table: PageTable, { logMark }: Image, notes: string[]): boolean {
  try {
    if (path === null) throw new Error('there is no folder for temporary files')
    writePageHashes(path, table, logMark)
    return true
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    notes.push(`Stored without page hashes, so that the next differential or log backup will be a full: ${why}.`)
    return false
  }
}
