import { createReadStream } from 'node:fs'
import { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { BackupError, CHANNEL_FD, compress, type JobTools, Meter, toBackupError } from '@taskflow-backup/core'
import type { Jobs, SentFile } from '../jobs.ts'
import { MtfScanner } from '../mtf/scanner.ts'
import { toScanned } from './scanned.ts'

const READ_BYTES = 1024 * 1024

/** Reads a backup file once: checks its format, hashes, compresses and hashes it, and sends the small result. */
export async function sendBackup(
  { name, source, compression }: Jobs['sendBackup']['input'],
  onProgress: JobTools['onProgress'],
): Promise<SentFile> {
  // Both ways: what comes in is the file, or only the end, when the parent lets go.
  const channel = new Socket({ fd: CHANNEL_FD, readable: true, writable: true, allowHalfOpen: true })
  channel.on('error', () => {}) // fails whoever writes
  const plain = new Meter()
  const stored = new Meter()
  const scanner = new MtfScanner(name)
  async function* metered(): AsyncGenerator<Uint8Array> {
    const pieces = 'file' in source ? readFile(source.file) : take(channel, source.channelBytes)
    for await (const piece of pieces) {
      plain.update(piece)
      scanner.update(piece)
      onProgress(plain.bytes)
      yield piece
    }
  }
  let scanned: SentFile['scanned'] | undefined
  async function* frames(): AsyncGenerator<Uint8Array> {
    for await (const frame of compress(metered(), compression)) {
      stored.update(frame)
      yield frame
    }
    scanned = toScanned(scanner.end()) // a file that was cut short never gets an end here
  }
  try {
    await pipeline(frames(), channel)
  } catch (error) {
    throw toBackupError(error, 'SOURCE_UNREADABLE', `Cannot read ${name}`)
  }
  return { plain: plain.facts(), stored: stored.facts(), scanned: scanned as SentFile['scanned'] }
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
