import { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { CHANNEL_FD, type Compression, compress, type JobTools, Meter } from '@taskflow-backup/core'
import type { SentFacts } from '../jobs.ts'

/** The channel in both directions: bytes go out, and what comes in is only its end, when the parent lets go. */
export function openChannel(): Socket {
  const channel = new Socket({ fd: CHANNEL_FD, readable: true, writable: true, allowHalfOpen: true })
  return channel.on('error', () => {}) // fails whoever writes
}

/** Hashes, compresses and hashes `source` in this process, and sends only the small result. */
export async function sendCompressed(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
  channel: Socket,
  onProgress: JobTools['onProgress'],
): Promise<SentFacts> {
  const plain = new Meter()
  const stored = new Meter()
  async function* metered(): AsyncGenerator<Uint8Array> {
    for await (const piece of source) {
      plain.update(piece)
      onProgress(plain.bytes)
      yield piece
    }
  }
  async function* frames(): AsyncGenerator<Uint8Array> {
    for await (const frame of compress(metered(), compression)) {
      stored.update(frame)
      yield frame
    }
  }
  await pipeline(frames(), channel)
  return { plain: plain.facts(), stored: stored.facts() }
}
