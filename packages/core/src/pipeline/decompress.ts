import { pipeline, Readable, type Transform } from 'node:stream'
import * as zlib from 'node:zlib'
import type { CodecUse } from '../contracts/backup.ts'
import { BackupError, toBackupError } from '../errors.ts'
import { ByteReader } from './byte-reader.ts'
import { framePieces, nextFrame } from './zstd-frames.ts'

/**
 * Decoded content comes in pieces of this size. Larger ones are not faster, and V8 lets 64 MiB of them pile up before it
 * looks for garbage.
 */
const CHUNK_BYTES = 256 * 1024

/**
 * Undoes the codecs of a member, last one first.
 *
 * @throws `CODEC_UNKNOWN` at once; the stream fails with `MEMBER_DAMAGED` when the content cannot be decoded.
 */
export function decode(source: AsyncIterable<Uint8Array>, codecs: readonly CodecUse[]): AsyncIterable<Uint8Array> {
  const steps = [...codecs].reverse().map(({ name }) => {
    const step = canDecode(name) ? DECODERS[name] : undefined
    if (!step) throw new BackupError('CODEC_UNKNOWN', `This version cannot undo "${name}".`)
    return step
  })
  return steps.reduce((stream, step) => step(stream), source)
}

const DECODERS: Readonly<Record<string, (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>>> = {
  zstd: decodeZstd,
  gzip: (source) => transformed(source, zlib.createGunzip({ chunkSize: CHUNK_BYTES })),
}

/** True for a codec that {@link decode} undoes. */
export const canDecode = (name: string): boolean => Object.hasOwn(DECODERS, name)

// node:zlib's zstd stream stops silently after the first of two frames that arrive in one piece, so the frames are
// found here and decoded one by one.
async function* decodeZstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = new ByteReader(source)
  try {
    for (let frame = await nextFrame(reader); frame; frame = await nextFrame(reader)) {
      let bytes = 0
      for await (const piece of transformed(
        framePieces(reader, frame),
        zlib.createZstdDecompress({ chunkSize: CHUNK_BYTES }),
      )) {
        bytes += piece.length
        yield piece
      }
      // node:zlib takes a frame that ends early for a whole one.
      if (frame.plainBytes !== undefined && bytes !== frame.plainBytes) {
        throw damaged(new Error(`a frame has ${bytes} bytes instead of ${frame.plainBytes}`))
      }
    }
  } finally {
    await reader.close()
  }
}

async function* transformed(source: AsyncIterable<Uint8Array>, transform: Transform): AsyncGenerator<Buffer> {
  let failure: unknown
  pipeline(Readable.from(source, { objectMode: false, highWaterMark: 256 * 1024 }), transform, (error) => {
    failure = error
  })
  try {
    for await (const piece of transform) yield piece as Buffer
  } catch (error) {
    throw damaged(failure ?? error)
  } finally {
    transform.destroy()
  }
}

function damaged(error: unknown): BackupError {
  return toBackupError(error, 'MEMBER_DAMAGED', 'The compressed data cannot be decoded')
}
