import { type FileHandle, open } from 'node:fs/promises'
import { BackupError, throwIfAborted } from '@taskflow-backup/core'
import { MtfScanner } from './scanner.ts'
import type { MtfFile } from './types.ts'

/** Read at once. */
const PIECE = 1_048_576

export interface ScanFileOptions {
  readonly signal?: AbortSignal
  /**
   * Read every byte. Default: false; then data is passed over where the reader cannot tell from it whether it is right,
   * which is all of it but that WITH CHECKSUM of a build whose checksums are known.
   */
  readonly everything?: boolean
}

/**
 * Reads what a backup file tells about itself. Takes 2 MiB of memory whatever the file's size, and reads off the event
 * loop.
 *
 * @throws `SOURCE_MISSING`, `SOURCE_UNREADABLE`, `MEMBER_DAMAGED`, `KIND_UNSUPPORTED`, `ABORTED`
 */
export async function scanFile(file: string, options: ScanFileOptions = {}): Promise<MtfFile> {
  try {
    const handle = await open(file, 'r')
    try {
      return await scan(handle, file, options)
    } finally {
      await handle.close()
    }
  } catch (thrown) {
    throw unreadable(thrown, file)
  }
}

async function scan(
  handle: FileHandle,
  file: string,
  { signal, everything = false }: ScanFileOptions,
): Promise<MtfFile> {
  const scanner = new MtfScanner(file)
  const { size } = await handle.stat()
  let [piece, spare] = [Buffer.allocUnsafeSlow(PIECE), Buffer.allocUnsafeSlow(PIECE)]
  let at = 0
  let reading = read(handle, piece, at)
  for (;;) {
    const bytesRead = await reading
    throwIfAborted(signal)
    if (bytesRead === 0) return scanner.end()
    at += bytesRead
    // Where nothing is left out, the next piece is read while this one is looked at.
    if (everything) reading = read(handle, spare, at)
    scanner.update(piece.subarray(0, bytesRead))
    if (!everything) {
      at += scanner.skip(size)
      reading = read(handle, spare, at)
    }
    ;[piece, spare] = [spare, piece]
  }
}

function read(handle: FileHandle, piece: Buffer, at: number): Promise<number> {
  const reading = handle.read(piece, 0, PIECE, at).then(({ bytesRead }) => bytesRead)
  reading.catch(() => {}) // thrown where it is awaited, if it still is
  return reading
}

/** What reading a file or folder threw, as an error of ours. */
export function unreadable(thrown: unknown, place: string): BackupError {
  if (thrown instanceof BackupError) return thrown
  const { code, message } = thrown as NodeJS.ErrnoException
  const missing = code === 'ENOENT' || code === 'ENOTDIR'
  return new BackupError(
    missing ? 'SOURCE_MISSING' : 'SOURCE_UNREADABLE',
    missing ? `There is nothing at ${place}.` : `${place} cannot be read: ${message}`,
    { cause: thrown, ...(missing && { hint: 'Correct the path; a relative one counts from the working directory.' }) },
  )
}
