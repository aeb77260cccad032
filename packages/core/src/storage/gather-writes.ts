import type * as fs from 'node:fs/promises'
import { BackupError } from '../errors.ts'

/** Larger writes stall on first-touched page cache. */
const WRITE_BYTES = 1024 * 1024
/** Most objects have less: a manifest, a log. */
const SMALL_BYTES = 16 * 1024

/**
 * Small pieces together, large ones cut: one write each, of about `WRITE_BYTES`. What is yielded is gone when the next is
 * asked for.
 */
export async function* gatherWrites(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array[]> {
  let slab: Uint8Array | undefined
  let filled = 0
  for await (const bytes of body) {
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + WRITE_BYTES)
      at += piece.length
      if (filled + piece.length >= WRITE_BYTES) {
        yield slab && filled > 0 ? [slab.subarray(0, filled), piece] : [piece]
        filled = 0
        continue
      }
      if (!slab || slab.length < filled + piece.length) slab = larger(slab, filled, piece.length)
      slab.set(piece, filled)
      filled += piece.length
    }
  }
  if (slab && filled > 0) yield [slab.subarray(0, filled)]
}

function larger(slab: Uint8Array | undefined, filled: number, more: number): Uint8Array {
  const grown = Buffer.allocUnsafeSlow(slab ? WRITE_BYTES : Math.max(more, SMALL_BYTES))
  if (slab) grown.set(slab.subarray(0, filled))
  return grown
}

/** Writes pieces behind what is there; tells how many bytes. */
export async function writeAll(handle: fs.FileHandle, pieces: Uint8Array[]): Promise<number> {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
  const { bytesWritten } = await handle.writev(pieces)
  if (bytesWritten === length) return length
  // A short write is allowed to happen: what is left goes piece by piece.
  const rest = Buffer.concat(pieces).subarray(bytesWritten)
  for (let at = 0; at < rest.length; ) {
    const step = await handle.write(rest, at, rest.length - at)
    if (step.bytesWritten === 0) throw new BackupError('STORAGE_FAILED', 'The file system took no more bytes.')
    at += step.bytesWritten
  }
  return length
}
