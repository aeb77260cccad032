import { writeSync } from 'node:fs'

/** Writes all of `bytes`, which one call need not do: at `position`, or where the file is. */
export function writeAll(fd: number, bytes: Uint8Array, position?: number): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(fd, bytes, at, bytes.length - at, position === undefined ? null : position + at)
}
