import { createWriteStream } from 'node:fs'
import { BackupError, type Compression, type ReadyFrame, type SentFacts, sendCompressed } from '@taskflow-backup/core'

/** Errors of the file system that mean: no room. */
const NO_ROOM = ['ENOSPC', 'EDQUOT', 'EFBIG']

export const isNoRoom = (error: unknown): boolean =>
  NO_ROOM.includes(String((error as { code?: unknown } | null)?.code ?? ''))

/**
 * Writes `plain` to a new file with mode 0600, compressed, hashed before and after. Each piece is written before the next
 * is asked for, so that its memory can be freed then.
 *
 * @throws `TARGET_INVALID` when the file cannot be written, and what `plain` throws
 */
export async function writeCompressed(
  path: string,
  plain: AsyncIterable<Uint8Array | ReadyFrame>,
  compression: Compression,
): Promise<SentFacts> {
  try {
    const file = createWriteStream(path, { flags: 'wx', mode: 0o600, highWaterMark: 1 })
    return await sendCompressed(plain, compression, file, () => {})
  } catch (error) {
    throw cannotWrite(path, error)
  }
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
