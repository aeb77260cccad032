import type { AdapterContext, Progress } from '@taskflow-backup/core'

/** Every byte is handled twice: the server writes it, then it is read. Both count, one after the other. */
export class BackupProgress {
  readonly #ctx: AdapterContext
  readonly #writingBytes: number | undefined
  #readingBytes: number | undefined
  /** Of the files that have been read. */
  #readBefore = 0
  #readOfFile = 0

  /** `expectedBytes`: what the server will write, about. */
  constructor(ctx: AdapterContext, expectedBytes: number | undefined) {
    this.#ctx = ctx
    this.#writingBytes = expectedBytes
    this.#readingBytes = expectedBytes
  }

  /** The server has written this share. */
  written(percent: number): void {
    if (this.#writingBytes === undefined) return
    this.#tell(Math.round((this.#writingBytes * percent) / 100))
  }

  /** The server has written everything: so much. */
  wrote(bytes: number): void {
    this.#readingBytes = bytes
  }

  /** For jobs that read one file each, one after another. */
  readonly read = ({ bytes }: Progress): void => {
    if (bytes < this.#readOfFile) this.#readBefore += this.#readOfFile
    this.#readOfFile = bytes
    this.#tell((this.#writingBytes ?? 0) + this.#readBefore + bytes)
  }

  #tell(bytes: number): void {
    const total = this.#readingBytes === undefined ? undefined : (this.#writingBytes ?? 0) + this.#readingBytes
    this.#ctx.onProgress({ bytes, ...(total !== undefined && { totalBytes: Math.max(total, bytes) }) })
  }
}
