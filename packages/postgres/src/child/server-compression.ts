import { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { BackupError } from '@taskflow-backup/core'
import { SLAB_BYTES } from './archive-stream.ts'

/** The plain content of an archive that the server compressed, in slabs; the name's suffix tells how. */
export function decompressed(name: string, chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const decoder = name.endsWith('.gz') ? createGunzip() : name.endsWith('.zst') ? createZstdDecompress() : undefined
  return decoder ? inSlabs(throughDecoder(name, chunks, decoder)) : chunks
}

async function* throughDecoder(
  name: string,
  chunks: AsyncIterable<Buffer>,
  decoder: ReturnType<typeof createGunzip>,
): AsyncGenerator<Buffer> {
  const source = Readable.from(chunks, { objectMode: true, highWaterMark: 1 })
  let failure: unknown
  source.once('error', (error) => {
    failure = error
    decoder.destroy(error)
  })
  try {
    for await (const piece of source.pipe(decoder)) yield piece as Buffer
  } catch (error) {
    if (failure !== undefined) throw failure
    throw new BackupError('SERVER_FAILED', `The server's compression of ${name} cannot be undone.`, { cause: error })
  } finally {
    source.destroy()
    decoder.destroy()
  }
}

async function* inSlabs(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  let filled = 0
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const end = Math.min(piece.length, at + SLAB_BYTES - filled)
      piece.copy(slab, filled, at, end)
      filled += end - at
      at = end
      if (filled < SLAB_BYTES) continue
      yield slab
      slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      filled = 0
    }
  }
  if (filled > 0) yield slab.subarray(0, filled)
}
