import { ftruncateSync, writeSync } from 'node:fs'

const BUFFER_BYTES = 1024 * 1024

/** Writes pages to where they belong in a database file; those that lie side by side in one go. */
export class PageWriter {
  readonly #fd: number
  readonly #pageSize: number
  readonly #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  #pageCount: number
  #first = 0
  #filled = 0

  /** `pageCount`: of the file as it is now. */
  constructor(fd: number, pageSize: number, pageCount: number) {
    this.#fd = fd
    this.#pageSize = pageSize
    this.#pageCount = pageCount
  }

  /** Where the caller puts the image of page `page`, counted from 1, before the next call. */
  place(page: number): Buffer {
    const next = this.#first + this.#filled / this.#pageSize
    if (page !== next || this.#filled === BUFFER_BYTES) this.flush()
    if (this.#filled === 0) this.#first = page
    this.#filled += this.#pageSize
    this.#pageCount = Math.max(this.#pageCount, page)
    return this.#buffer.subarray(this.#filled - this.#pageSize, this.#filled)
  }

  flush(): void {
    for (let at = 0; at < this.#filled; ) {
      at += writeSync(this.#fd, this.#buffer, at, this.#filled - at, (this.#first - 1) * this.#pageSize + at)
    }
    this.#filled = 0
  }

  /** Cuts the file, or adds pages of zeros. */
  resize(pageCount: number): void {
    this.flush()
    if (pageCount !== this.#pageCount) ftruncateSync(this.#fd, pageCount * this.#pageSize)
    this.#pageCount = pageCount
  }
}
