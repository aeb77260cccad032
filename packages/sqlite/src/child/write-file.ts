import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { BackupError, type Compression, compress, freeFrame, Meter, type SentFacts } from '@taskflow-backup/core'

/** Errors of the file system that mean: no room. */
const NO_ROOM = ['ENOSPC', 'EDQUOT', 'EFBIG']

export const isNoRoom = (error: unknown): boolean =>
  NO_ROOM.includes(String((error as { code?: unknown } | null)?.code ?? ''))

/**
 * Writes `plain` to a new file with mode 0600, compressed, hashed before and after.
 *
 * @throws `TARGET_INVALID` when the file cannot be written, and what `plain` throws
 */
export async function writeCompressed(
  path: string,
  plain: AsyncIterable<Uint8Array>,
  compression: Compression,
): Promise<SentFacts> {
  const [before, after] = [new Meter(), new Meter()]
  const output = createWriteStream(path, { flags: 'wx', mode: 0o600 })
  async function* metered(): AsyncGenerator<Uint8Array> {
    for await (const piece of plain) {
      before.update(piece)
      yield piece
    }
  }
  async function* frames(): AsyncGenerator<Uint8Array> {
    for await (const frame of compress(metered(), compression)) {
      after.update(frame)
      yield frame
      if (output.writableLength === 0 && compression.algorithm !== 'none') freeFrame(frame)
    }
  }
  try {
    await pipeline(frames(), output)
  } catch (error) {
    throw cannotWrite(path, error)
  }
  return { plain: before.facts(), stored: after.facts() }
}

/** What an error of a temporary file means; others are given back as they are. */
export function cannotWrite(path: string, error: unknown): unknown {
  const { syscall, code, message } = (error ?? {}) as NodeJS.ErrnoException
  if (error instanceof BackupError || syscall === undefined || code?.startsWith('SQLITE_')) return error
  return new BackupError('TARGET_INVALID', `Cannot write ${path}: ${message}`, {
    cause: error,
    retryable: isNoRoom(error),
    hint: 'The folder for temporary files (`temporaryDirectory`) needs room for all pages that changed.',
  })
}
