import {
  type Compression,
  compressFrame,
  type FramePlace,
  framesIn,
  type ManifestMember,
  type ReadyFrame,
} from '@taskflow-backup/core'
import { type ChangesIndex, encodeIndex } from '../changes/format.ts'
import { Spool } from './spool.ts'

/** Frames with less plain content are compressed anew: many small ones together become smaller. */
const LEAST_FRAME_BYTES = 512 * 1024
const READ_BYTES = 256 * 1024

/** Pages whose images lie one behind the other, and the frame that they are compressed to. */
export interface PagesFrame {
  readonly pages: number
  readonly place: FramePlace
}

/**
 * The bytes of an index, for the begin of a member. Where many pages follow it is a frame of its own: the frames behind it
 * hold whole pages then, and a merged log takes them as they are.
 */
export async function indexPiece(
  index: ChangesIndex,
  compression: Compression,
  leastFrameBytes = LEAST_FRAME_BYTES,
): Promise<Buffer | ReadyFrame> {
  const plain = encodeIndex(index)
  if (compression.algorithm !== 'zstd' || index.pages.length * index.pageSize < leastFrameBytes) return plain
  return { plain, frame: await compressFrame(plain, compression) }
}

/** The members of logs as they are stored, by whose frames most of what is merged need not be compressed again. */
export class StoredFrames {
  readonly #compression: Compression
  readonly #leastBytes: number
  readonly #spool: Spool
  /** By the image of the first page. */
  readonly #frames = new Map<number, PagesFrame>()
  /** Where the member begins that is stored just now. */
  #begin = 0
  #isFull = false

  /** `compression`: that of what they are taken for. */
  constructor(temporaryDirectory: string, compression: Compression, leastFrameBytes = LEAST_FRAME_BYTES) {
    this.#compression = compression
    this.#leastBytes = leastFrameBytes
    this.#spool = new Spool(temporaryDirectory)
  }

  /** Takes the stored bytes of the next member; `undefined` where no frame of it can be taken as it is. */
  takerFor({ codecs, plain }: ManifestMember): ((bytes: Buffer) => void) | undefined {
    const { algorithm, level } = this.#compression
    const [codec] = codecs
    const isSame = algorithm === 'zstd' && codecs.length === 1 && codec?.name === algorithm && codec.level === level
    if (!isSame || plain.bytes < this.#leastBytes) return undefined
    return (bytes) => {
      try {
        if (!this.#isFull) this.#spool.append(bytes)
      } catch {
        this.#isFull = true // then they are compressed anew
      }
    }
  }

  /**
   * The member is at its end, and is right. `pages` end it, and their images were numbered from `image` on. Without them
   * its frames are not of use.
   */
  async endMember(pages?: {
    readonly image: number
    readonly count: number
    readonly pageSize: number
  }): Promise<void> {
    const found = pages && !this.#isFull ? await this.#find(pages) : []
    for (const [image, frame] of found) this.#frames.set(image, frame)
    if (found.length === 0) this.#spool.truncate(this.#begin)
    this.#begin = this.#spool.length
    this.#isFull = false
  }

  async #find({ image, count, pageSize }: { image: number; count: number; pageSize: number }) {
    const begin = this.#begin
    const frames: FramePlace[] = []
    for await (const frame of framesIn(this.#pieces(begin))) frames.push(frame)
    // From the end: the pages are there, and what is before them has any length.
    const found: [image: number, frame: PagesFrame][] = []
    let behind = 0
    for (const { position, storedBytes, plainBytes } of frames.reverse()) {
      if (plainBytes === undefined) break
      behind += plainBytes
      if (behind > count * pageSize) break
      const isWhole = plainBytes % pageSize === 0 && behind % pageSize === 0
      if (!isWhole || plainBytes < this.#leastBytes) continue
      const place = { position: begin + position, storedBytes, plainBytes }
      found.push([image + count - behind / pageSize, { pages: plainBytes / pageSize, place }])
    }
    return found
  }

  async *#pieces(begin: number): AsyncGenerator<Buffer> {
    for (let at = begin; at < this.#spool.length; at += READ_BYTES) yield this.#spool.read(at, READ_BYTES)
  }

  /** The frame that begins with this image. */
  at(image: number): PagesFrame | undefined {
    return this.#frames.get(image)
  }

  read({ place: { position, storedBytes } }: PagesFrame): Buffer {
    return this.#spool.read(position, storedBytes)
  }
}
