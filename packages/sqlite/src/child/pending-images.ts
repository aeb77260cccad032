import { freeFrame } from '@taskflow-backup/core'
import { Spool } from './spool.ts'
import { cannotWrite } from './write-file.ts'

/** So much stays in memory; beyond it there is a temporary file. */
const MEMORY_BYTES = 8 * 1024 * 1024
const FIRST_BYTES = 64 * 1024
/** With a file, so much is gathered for each write. */
const WRITE_BYTES = 1024 * 1024

/** Bytes that are put in at the end and read anywhere: in memory while they are few, else in a temporary file. */
export class PendingImages {
  readonly #folder: string
  readonly #memoryBytes: number
  /** What is not in the file yet. */
  #memory = Buffer.alloc(0)
  #filled = 0
  #file: Spool | undefined
  #inFile = 0

  /** `folder` is that for temporary files. */
  constructor(folder: string, memoryBytes = MEMORY_BYTES) {
    this.#folder = folder
    this.#memoryBytes = memoryBytes
  }

  get length(): number {
    return this.#inFile + this.#filled
  }

  /** @throws `TARGET_INVALID` when there is no room for a temporary file */
  append(bytes: Uint8Array): void {
    if (this.#filled + bytes.length > (this.#file ? WRITE_BYTES : this.#memoryBytes)) this.#flush()
    const needed = this.#filled + bytes.length
    if (needed > this.#memory.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#memory.length, FIRST_BYTES))
      this.#memory.copy(grown, 0, 0, this.#filled)
      freeFrame(this.#memory)
      this.#memory = grown
    }
    this.#memory.set(bytes, this.#filled)
    this.#filled = needed
  }

  /** A copy of `length` bytes from `position`, all of which were put in. */
  read(position: number, length: number): Buffer {
    const fromFile = Math.max(0, Math.min(length, this.#inFile - position))
    const start = position + fromFile - this.#inFile
    const rest = this.#memory.subarray(start, start + length - fromFile)
    if (fromFile === 0) return Buffer.from(rest)
    const read = (this.#file as Spool).read(position, fromFile)
    return rest.length === 0 ? read : Buffer.concat([read, rest])
  }

  /** Forgets what is behind the first `length` bytes. */
  truncate(length: number): void {
    this.#filled = Math.max(0, length - this.#inFile)
    if (length >= this.#inFile) return
    this.#file?.truncate(length)
    this.#inFile = length
  }

  /** Forgets the first `length` bytes; those that stay move to the begin, so that a file never grows without end. */
  drop(length: number): void {
    const rest = new PendingImages(this.#folder, this.#memoryBytes)
    for (let at = length; at < this.length; at += WRITE_BYTES) {
      rest.append(this.read(at, Math.min(WRITE_BYTES, this.length - at)))
    }
    this.#file?.close()
    freeFrame(this.#memory)
    this.#memory = rest.#memory
    this.#filled = rest.#filled
    this.#file = rest.#file
    this.#inFile = rest.#inFile
  }

  #flush(): void {
    try {
      this.#file ??= new Spool(this.#folder)
      this.#file.append(this.#memory.subarray(0, this.#filled))
    } catch (error) {
      throw cannotWrite(this.#folder, error)
    }
    this.#inFile += this.#filled
    this.#filled = 0
    if (this.#memory.length <= WRITE_BYTES) return
    freeFrame(this.#memory)
    this.#memory = Buffer.alloc(0)
  }
}
