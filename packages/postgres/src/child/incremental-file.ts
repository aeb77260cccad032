import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { BackupError } from '@taskflow-backup/core'
import type { EntryWriter } from './unpack-tar.ts'

// Files named `INCREMENTAL.<name>` of an incremental base backup. Numbers are little endian, 32 bits:
// magic, number of blocks n, truncation length in blocks, n block numbers, zeros up to a whole block if n > 0, blocks.
// The truncation length is the shortest that the file was since the backup before: what lay beyond is not taken over.

export const INCREMENTAL_PREFIX = 'INCREMENTAL.'
const MAGIC = 0xd3ae1f0d
const BLOCK_BYTES = 8192
const HEADER_BYTES = 12
/** Blocks of one segment file of 1 GiB. */
const MAX_BLOCKS = 131_072

/** Brings the file at `file`, as the backup before left it, to the state of an incremental one, in place. */
export class IncrementalFile implements EntryWriter {
  readonly #file: string
  readonly #name: string
  readonly #size: number
  #header: Buffer = Buffer.alloc(0)
  #blocks: Uint32Array | undefined
  #dataStart = 0
  #position = 0
  #fd: number | undefined

  /** `name` is for messages, `size` the length of the archive's entry. */
  constructor(file: string, name: string, size: number) {
    this.#file = file
    this.#name = name
    this.#size = size
  }

  write(piece: Uint8Array): void {
    let rest = piece
    if (!this.#blocks) {
      this.#header = Buffer.concat([this.#header, piece])
      if (!this.#readHeader()) return
      rest = this.#header
      this.#header = Buffer.alloc(0)
    }
    this.#writeBlocks(rest)
  }

  end(): void {
    if (!this.#blocks) throw this.#damaged('ends inside its header')
    this.close()
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }

  #damaged(why: string): BackupError {
    return new BackupError('MEMBER_DAMAGED', `${this.#name} ${why}.`)
  }

  /** False while too little of the header is there. */
  #readHeader(): boolean {
    const header = this.#header
    if (header.length < HEADER_BYTES) return false
    if (header.readUInt32LE(0) !== MAGIC) throw this.#damaged('does not begin as an incremental file')
    const count = header.readUInt32LE(4)
    const truncation = header.readUInt32LE(8)
    if (count > MAX_BLOCKS || truncation > MAX_BLOCKS) throw this.#damaged('has impossible lengths')
    const listEnd = HEADER_BYTES + 4 * count
    this.#dataStart = count === 0 ? listEnd : Math.ceil(listEnd / BLOCK_BYTES) * BLOCK_BYTES
    if (this.#size !== this.#dataStart + count * BLOCK_BYTES) {
      throw this.#damaged(`has ${this.#size} bytes, which do not fit its ${count} blocks of ${BLOCK_BYTES} bytes`)
    }
    if (header.length < listEnd) return false
    this.#blocks = Uint32Array.from({ length: count }, (_, i) => header.readUInt32LE(HEADER_BYTES + 4 * i))
    if (this.#blocks.some((block) => block >= MAX_BLOCKS)) throw this.#damaged('has an impossible block number')
    this.#resize(truncation, this.#blocks)
    return true
  }

  #resize(truncation: number, blocks: Uint32Array): void {
    const fd = openOlder(this.#file, this.#name)
    this.#fd = fd
    const kept = Math.min(truncation, Math.floor(fstatSync(fd).size / BLOCK_BYTES))
    ftruncateSync(fd, kept * BLOCK_BYTES)
    // What is in no backup of the chain was never written to, and is zeros.
    ftruncateSync(fd, blocks.reduce((length, block) => Math.max(length, block + 1), truncation) * BLOCK_BYTES)
  }

  #writeBlocks(piece: Uint8Array): void {
    const blocks = this.#blocks as Uint32Array
    let rest = piece
    while (rest.length > 0) {
      const at = this.#position - this.#dataStart
      // Block numbers and padding are passed over.
      let take = at < 0 ? Math.min(rest.length, -at) : rest.length
      if (at >= 0) {
        const index = Math.floor(at / BLOCK_BYTES)
        const inside = at % BLOCK_BYTES
        // Neighbours go with one write.
        let run = 1
        while (run * BLOCK_BYTES - inside < rest.length && blocks[index + run] === (blocks[index] as number) + run)
          run++
        take = Math.min(rest.length, run * BLOCK_BYTES - inside)
        const start = (blocks[index] as number) * BLOCK_BYTES + inside
        for (let done = 0; done < take; ) done += writeSync(this.#fd as number, rest, done, take - done, start + done)
      }
      this.#position += take
      rest = rest.subarray(take)
    }
  }
}

function openOlder(file: string, name: string): number {
  try {
    return openSync(file, 'r+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new BackupError('MEMBER_DAMAGED', `${name} changes a file that the backup before does not have.`)
  }
}
