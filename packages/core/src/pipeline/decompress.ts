import { pipeline, Readable, type Transform } from 'node:stream'
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import type { CodecUse } from '../contracts/backup.ts'
import { BackupError, toBackupError } from '../errors.ts'
import { ByteReader } from './byte-reader.ts'
import { freeMemory } from './free-memory.ts'
import { framePieces, nextFrame } from './zstd-frames.ts'

/** Frames with up to this much plain content are decoded whole and several at a time; longer ones as a stream. */
const WHOLE_FRAME_BYTES = 8 * 1024 * 1024
const FRAMES_IN_FLIGHT = 3

const zstdWhole = promisify(zlib.zstdDecompress)

/**
 * Undoes the codecs of a member, last one first. A piece is gone when the next is asked for.
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
  gzip: (source) => transformed(source, zlib.createGunzip({ chunkSize: 256 * 1024 })),
}

/** True for a codec that {@link decode} undoes. */
export const canDecode = (name: string): boolean => Object.hasOwn(DECODERS, name)

// node:zlib's zstd stream stops silently after the first of two frames that arrive in one piece, so the frames are
// found here and decoded one by one.
async function* decodeZstd(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = new ByteReader(source)
  const running: Promise<Buffer>[] = []
  async function* finished(atMost: number): AsyncGenerator<Uint8Array> {
    while (running.length > atMost) {
      const plain = await (running.shift() as Promise<Buffer>)
      yield plain
      freeMemory(plain, 1) // one byte more is what the decoder asked for, see below
    }
  }
  try {
    for (let frame = await nextFrame(reader); frame; frame = await nextFrame(reader)) {
      const bytes = framePieces(reader, frame)
      if (frame.plainBytes !== undefined && frame.plainBytes <= WHOLE_FRAME_BYTES) {
        const decoded = decodeWhole(await gather(bytes), frame.plainBytes)
        decoded.catch(() => {}) // thrown where it is awaited
        running.push(decoded)
        yield* finished(FRAMES_IN_FLIGHT - 1)
      } else {
        yield* finished(0)
        yield* transformed(bytes, zlib.createZstdDecompress({ chunkSize: 256 * 1024 }))
      }
    }
    yield* finished(0)
  } finally {
    await Promise.allSettled(running)
    await reader.close()
  }
}

async function decodeWhole(frame: Buffer, plainBytes: number): Promise<Buffer> {
  let plain: Buffer
  try {
    plain = await zstdWhole(frame, { maxOutputLength: plainBytes + 1, chunkSize: Math.max(plainBytes + 1, 64) })
  } catch (error) {
    throw damaged(error)
  }
  freeMemory(frame)
  if (plain.length !== plainBytes) throw damaged(new Error(`${plain.length} bytes instead of ${plainBytes}`))
  return plain
}

/** A frame with little plain content cannot be much longer itself; one that is was made to fill the memory. */
async function gather(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = []
  let bytes = 0
  for await (const piece of pieces) {
    all.push(piece)
    bytes += piece.length
    if (bytes > 2 * WHOLE_FRAME_BYTES) throw damaged(new Error('a frame is far longer than its content'))
  }
  return Buffer.concat(all)
}

async function* transformed(source: AsyncIterable<Uint8Array>, transform: Transform): AsyncGenerator<Buffer> {
  let failure: unknown
  pipeline(Readable.from(source, { objectMode: false, highWaterMark: 1024 * 1024 }), transform, (error) => {
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
