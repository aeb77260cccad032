import { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { BackupError, copyToShared } from '@taskflow-backup/core'
import { SLAB_BYTES, type SlabPool } from './slab-pool.ts'

/** The plain content of an archive that the server compressed, in slabs of `pool`; the name's suffix tells how. */
export function decompressed(name: string, chunks: AsyncIterable<Buffer>, pool: SlabPool): AsyncIterable<Buffer> {
  const decoder = name.endsWith('.gz') ? createGunzip() : name.endsWith('.zst') ? createZstdDecompress() : undefined
  return decoder ? inSlabs(throughDecoder(name, chunks, decoder), pool) : chunks
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

async function* inSlabs(pieces: AsyncIterable<Buffer>, pool: SlabPool): AsyncGenerator<Buffer> {
  let slab = pool.take()
  let filled = 0
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const end = Math.min(piece.length, at + SLAB_BYTES - filled)
      copyToShared(slab, filled, piece, at, end)
      filled += end - at
      at = end
      if (filled < SLAB_BYTES) continue
      yield slab
      slab = pool.take()
      filled = 0
    }
  }
  if (filled > 0) yield slab.subarray(0, filled)
}
