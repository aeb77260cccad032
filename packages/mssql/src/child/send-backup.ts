import { createReadStream } from 'node:fs'
import type { Socket } from 'node:net'
import { BackupError, type JobTools, openChannel, sendCompressed, toBackupError } from '@taskflow-backup/core'
import type { Jobs, SentFile } from '../jobs.ts'
import { MtfScanner } from '../mtf/scanner.ts'
import { toScanned } from './scanned.ts'

const READ_BYTES = 1024 * 1024

/** Reads a backup file once: checks its format, hashes, compresses and hashes it, and sends the small result. */
export async function sendBackup(
  { name, source, compression }: Jobs['sendBackup']['input'],
  onProgress: JobTools['onProgress'],
): Promise<SentFile> {
  const channel = openChannel()
  const scanner = new MtfScanner(name)
  let scanned: SentFile['scanned'] | undefined
  async function* checked(): AsyncGenerator<Uint8Array> {
    let bytes = 0
    let unread: string | undefined
    for await (const piece of 'file' in source ? readFile(source.file) : take(channel, source.channelBytes)) {
      bytes += piece.length
      unread ??= flawIn(() => scanner.update(piece))
      yield piece
    }
    // A file that was cut short never gets an end here.
    unread ??= flawIn(() => {
      scanned = toScanned(name, scanner.end())
    })
    scanned ??= { name, bytes, unread: unread as string, compressed: false, sets: [], bareSets: 0 }
  }
  try {
    const facts = await sendCompressed(checked(), compression, channel, onProgress)
    return { ...facts, scanned: scanned as SentFile['scanned'] }
  } catch (error) {
    throw toBackupError(error, 'SOURCE_UNREADABLE', `Cannot read ${name}`)
  }
}

/** What is wrong with the format. The parent decides what that means: the file may be of a server that came later. */
function flawIn(step: () => void): string | undefined {
  try {
    step()
    return undefined
  } catch (error) {
    if (error instanceof BackupError && error.code === 'MEMBER_DAMAGED') return error.message
    throw error
  }
}

async function* readFile(file: string): AsyncGenerator<Buffer> {
  try {
    yield* createReadStream(file, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>
  } catch (error) {
    throw toBackupError(error, 'SOURCE_UNREADABLE', "Cannot read the server's backup file", {
      hint: 'Let the user of this process read what the service account of SQL Server writes in the shared folder.',
    })
  }
}

/** Exactly `bytes` bytes of a channel. */
async function* take(channel: Socket, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes
  if (left === 0) return
  for await (const piece of channel.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    yield piece.subarray(0, left)
    left -= piece.length
    if (left <= 0) return
  }
  throw new BackupError('CHILD_FAILED', `${left} of ${bytes} bytes of a backup file did not arrive.`)
}
