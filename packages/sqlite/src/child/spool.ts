import { randomBytes } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, statfsSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { SPOOL_PREFIX } from '../places.ts'
import { readAt } from './wal.ts'

/** Writes larger than this stall on first-touched page cache. */
const WRITE_BYTES = 1024 * 1024

/**
 * A temporary file without a name: mode 0600, unlinked as soon as it is open, so that no kill can leave it behind.
 * Written once, then read once.
 */
export class Spool {
  readonly #fd: number
  #length = 0

  constructor(folder: string) {
    const file = join(folder, SPOOL_PREFIX + randomBytes(8).toString('hex'))
    this.#fd = openSync(file, 'wx+', 0o600)
    unlinkSync(file)
  }

  get length(): number {
    return this.#length
  }

  append(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      at += writeSync(this.#fd, bytes, at, Math.min(WRITE_BYTES, bytes.length - at), this.#length + at)
    }
    this.#length += bytes.length
  }

  /** Forgets what is behind the first `length` bytes, and gives its room back. */
  truncate(length: number): void {
    if (length >= this.#length) return
    ftruncateSync(this.#fd, length)
    this.#length = length
  }

  read(position: number, length: number): Buffer {
    return readAt(this.#fd, Math.min(length, this.#length - position), position)
  }

  close(): void {
    closeSync(this.#fd)
  }
}

/** A spool in `folder` for `bytes`; `undefined` when the folder cannot take it. */
export function openSpool(folder: string, bytes: number): Spool | undefined {
  try {
    return hasRoomFor(folder, bytes) ? new Spool(folder) : undefined
  } catch {
    return undefined
  }
}

/** Whether `folder` has room for `bytes`, with a tenth to spare for everybody else. */
export function hasRoomFor(folder: string, bytes: number): boolean {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize * 0.9 > bytes
}
