import { BackupError } from '../errors.ts'
import { ByteReader } from './byte-reader.ts'

// RFC 8878, section 3.1. Only what is needed to find where a frame ends.

const MAGIC = 0xfd2fb528
const SKIPPABLE = 0x184d2a50

/** Begin of a frame: how long its header is, and what it says about the plain content. */
export interface FrameHeader {
  readonly headerBytes: number
  /** Length of the plain content; `undefined` where the frame does not tell. */
  readonly plainBytes: number | undefined
  readonly hasChecksum: boolean
}

/** Reads the next frame's header without consuming it, passing over skippable frames. `undefined` at the end. */
export async function nextFrame(reader: ByteReader): Promise<FrameHeader | undefined> {
  for (;;) {
    const start = await reader.peek(18)
    if (start.length === 0) return undefined
    if (start.length < 5) throw truncated()
    const magic = start.readUInt32LE(0)
    if (magic === MAGIC) return parseHeader(start)
    if (magic >>> 4 !== SKIPPABLE >>> 4) {
      throw new BackupError('MEMBER_DAMAGED', 'The compressed data has no zstd frame where one should begin.')
    }
    if (start.length < 8) throw truncated()
    reader.skip(8)
    await skipBytes(reader, start.readUInt32LE(4))
  }
}

/** A frame of zstd, without its content: where it lies among the stored bytes, and how much it is unpacked. */
export interface FramePlace {
  readonly position: number
  readonly storedBytes: number
  /** `undefined` where the frame does not tell. */
  readonly plainBytes: number | undefined
}

/** Where the frames are in content that was compressed with zstd. @throws `MEMBER_DAMAGED` */
export async function* framesIn(stored: AsyncIterable<Uint8Array>): AsyncGenerator<FramePlace> {
  const reader = new ByteReader(stored)
  for (let header = await nextFrame(reader); header; header = await nextFrame(reader)) {
    const { position } = reader
    for await (const _ of framePieces(reader, header)) {
      // Only how long they are counts.
    }
    yield { position, storedBytes: reader.position - position, plainBytes: header.plainBytes }
  }
}

function parseHeader(start: Buffer): FrameHeader {
  const descriptor = start[4] as number
  const singleSegment = (descriptor & 0x20) !== 0
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number
  const sizeFlag = descriptor >>> 6
  const sizeBytes = sizeFlag === 0 ? (singleSegment ? 1 : 0) : ([0, 2, 4, 8][sizeFlag] as number)
  const sizeAt = 5 + (singleSegment ? 0 : 1) + dictionaryBytes
  const headerBytes = sizeAt + sizeBytes
  if (start.length < headerBytes) throw truncated()
  return { headerBytes, plainBytes: readSize(start, sizeAt, sizeBytes), hasChecksum: (descriptor & 4) !== 0 }
}

function readSize(start: Buffer, at: number, bytes: number): number | undefined {
  if (bytes === 0) return undefined
  if (bytes === 1) return start[at]
  if (bytes === 2) return start.readUInt16LE(at) + 256
  if (bytes === 4) return start.readUInt32LE(at)
  return Number(start.readBigUInt64LE(at))
}

/**
 * Yields a frame piece by piece: the header, each block, the checksum. Each piece is at most 128 KiB and a few bytes.
 * The pieces together are the frame, which is consumed.
 */
export async function* framePieces(reader: ByteReader, header: FrameHeader): AsyncGenerator<Buffer> {
  yield await take(reader, header.headerBytes)
  for (let last = false; !last; ) {
    const head = await reader.peek(3)
    if (head.length < 3) throw truncated()
    const word = head.readUIntLE(0, 3)
    last = (word & 1) === 1
    const type = (word >>> 1) & 3
    // A run-length block stores its one byte, however often it is repeated.
    yield await take(reader, 3 + (type === 1 ? 1 : word >>> 3))
  }
  if (header.hasChecksum) yield await take(reader, 4)
}

async function take(reader: ByteReader, length: number): Promise<Buffer> {
  const bytes = await reader.peek(length)
  if (bytes.length < length) throw truncated()
  reader.skip(length)
  return bytes
}

async function skipBytes(reader: ByteReader, length: number): Promise<void> {
  for (let left = length; left > 0; ) {
    const bytes = await reader.peek(Math.min(left, 65_536))
    if (bytes.length === 0) throw truncated()
    reader.skip(bytes.length)
    left -= bytes.length
  }
}

function truncated(): BackupError {
  return new BackupError('MEMBER_DAMAGED', 'The compressed data ends in the middle of a zstd frame.')
}
