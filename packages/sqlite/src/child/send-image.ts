import { once } from 'node:events'
import { Socket } from 'node:net'
import { availableParallelism } from 'node:os'
import { CHANNEL_FD, compressFrame, freeFrame, inOrder, Meter } from '@taskflow-backup/core'
import type { DatabaseFacts, ImageFacts, Jobs } from '../jobs.ts'
import { describeDatabase } from './describe.ts'
import { openImage } from './image.ts'
import { openSource } from './open-source.ts'

/** Reads, hashes and compresses the image in this process and sends only the small result. */
export async function sendImage(
  input: Jobs['image']['input'],
  onProgress: (bytes: number, totalBytes: number) => void,
): Promise<ImageFacts> {
  const source = openSource(input.file, input.busyTimeoutMs)
  const database: DatabaseFacts = describeDatabase(source, input.busyTimeoutMs)
  const image = await openImage(source, input)
  const totalBytes = image.pageSize * image.pageCount
  const isPlain = input.compression.algorithm === 'none'
  const plain = new Meter()
  const stored = isPlain ? plain : new Meter()
  const output = new Socket({ fd: CHANNEL_FD, readable: false, writable: true })
  const frames = inOrder(image.chunks(), availableParallelism() + 2, (chunk) => {
    const compressed = compressFrame(chunk, input.compression)
    plain.update(chunk) // while the pool compresses it
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
  const { pageSize, pageCount, journalMode } = image
  return {
    database: { ...database, pageSize, pageCount, journalMode },
    plain: plain.facts(),
    stored: stored.facts(),
    method: image.method,
    consistentAt: image.consistentAt.toISOString(),
    mark: image.mark,
    notes: image.notes,
  }
}
