import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import type { Compression } from '../contracts/adapter.ts'
import { freeMemory } from './free-memory.ts'
import { inOrder } from './in-order.ts'

/** Plain bytes in one frame. Each frame is compressed by itself, so that several are at work at the same time. */
export const FRAME_BYTES = 2 * 1024 * 1024
const FRAMES_IN_FLIGHT = 4

export const COMPRESSION_SUFFIX = { zstd: '.zst', gzip: '.gz', none: '' } as const

const gzip = promisify(zlib.gzip)

/** Compresses one frame in libuv's pool. `ZSTD_c_nbWorkers` is never set: with it node:zlib hangs. */
export function compressFrame(plain: Uint8Array, { algorithm, level }: Compression): Promise<Uint8Array> {
  if (algorithm === 'none') return Promise.resolve(plain)
  if (algorithm === 'gzip') return gzip(plain, { level, chunkSize: FRAME_BYTES / 4 })
  return zstdFrame(plain, level)
}

/**
 * In one go into memory that is surely long enough. `zlib.zstdCompress` does not tell the compressor that the input is
 * complete, which then copies it bit by bit, and leaves buffers behind that only V8 can free.
 */
function zstdFrame(plain: Uint8Array, level: number): Promise<Uint8Array> {
  const stream = zlib.createZstdCompress({
    flush: zlib.constants.ZSTD_e_end,
    chunkSize: longestFrame(plain.length),
    // The frame tells its plain length, which lets readers decode it in one go and refuse absurd ones.
    pledgedSrcSize: plain.length,
    params: { [zlib.constants.ZSTD_c_compressionLevel]: level, [zlib.constants.ZSTD_c_checksumFlag]: 1 },
  } as zlib.ZstdOptions)
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = []
    stream.on('data', (piece: Buffer) => pieces.push(piece)).on('error', reject)
    // Its end would add an empty frame.
    stream.write(plain, (error) => {
      stream.destroy()
      if (error) reject(error)
      else resolve(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces))
    })
  })
}

/** `ZSTD_COMPRESSBOUND` of zstd.h. */
const longestFrame = (bytes: number): number => bytes + (bytes >>> 8) + (Math.max(0, 128 * 1024 - bytes) >>> 11)

/** Plain content, and the frame that it was compressed to before: that is taken as it is. */
export interface ReadyFrame {
  readonly plain: Uint8Array
  readonly frame: Uint8Array
}

/** The plain content of a piece. */
export const plainOf = (piece: Uint8Array | ReadyFrame): Uint8Array => ('frame' in piece ? piece.plain : piece)

/** Frees the memory of a frame that {@link compressFrame} made and that nobody reads again. */
export function freeFrame(frame: Uint8Array): void {
  // A small one may lie in Node's own pool together with others.
  if (frame.buffer.byteLength > Buffer.poolSize) freeMemory(frame, longestFrame(FRAME_BYTES))
}

/**
 * Compresses a stream: a sequence of independent frames of 2 MiB plain content each, which every `zstd` and `gzip`
 * takes for one file. A {@link ReadyFrame}, which must be of the same algorithm, stands among them as it is.
 */
export function compress(
  source: AsyncIterable<Uint8Array | ReadyFrame>,
  compression: Compression,
): AsyncIterable<Uint8Array> {
  if (compression.algorithm === 'none') return plainPieces(source)
  return inOrder(regroup(source, FRAME_BYTES), FRAMES_IN_FLIGHT, async (piece) => {
    if ('frame' in piece) return piece.frame
    const compressed = await compressFrame(piece, compression)
    freeFrame(piece) // a copy of our own
    return compressed
  })
}

async function* plainPieces(source: AsyncIterable<Uint8Array | ReadyFrame>): AsyncGenerator<Uint8Array> {
  for await (const piece of source) yield plainOf(piece)
}

/**
 * The same bytes in pieces of exactly `size`, but for the last, and the last before a frame that is ready; at least one
 * piece, so that nothing is a file too.
 */
async function* regroup(
  source: AsyncIterable<Uint8Array | ReadyFrame>,
  size: number,
): AsyncGenerator<Buffer | ReadyFrame> {
  let waiting: Buffer | undefined
  let filled = 0
  let empty = true
  for await (const piece of source) {
    if ('frame' in piece) {
      if (waiting) yield waiting.subarray(0, filled)
      yield piece
      empty = false
      waiting = undefined
      filled = 0
      continue
    }
    for (let at = 0; at < piece.length; ) {
      waiting ??= Buffer.allocUnsafeSlow(size)
      const end = Math.min(piece.length, at + size - filled)
      waiting.set(piece.subarray(at, end), filled)
      filled += end - at
      at = end
      if (filled < size) continue
      yield waiting
      empty = false
      waiting = undefined
      filled = 0
    }
  }
  if (waiting) yield waiting.subarray(0, filled)
  else if (empty) yield Buffer.alloc(0)
}
