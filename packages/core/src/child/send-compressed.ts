import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Compression } from '../contracts/adapter.ts'
import { compress, freeFrame, plainOf, type ReadyFrame } from '../pipeline/compress.ts'
import { Meter } from '../pipeline/meter.ts'
import type { SentFacts } from './job-member.ts'
import { CHANNEL_FD } from './messages.ts'
import type { JobTools } from './serve-jobs.ts'

/**
 * For a job: its channel in both directions. Bytes go out; what comes in is what the parent sends, or only its end, when
 * the parent lets go.
 */
export function openChannel(): Socket {
  const channel = new Socket({ fd: CHANNEL_FD, readable: true, writable: true, allowHalfOpen: true })
  return channel.on('error', () => {}) // fails whoever writes
}

/**
 * For a job: hashes, compresses and hashes `source` in its process, and sends only the small result over its channel, or
 * writes it to a file. When `source` fails, the channel is closed without an end.
 */
export async function sendCompressed(
  source: AsyncIterable<Uint8Array | ReadyFrame>,
  compression: Compression,
  channel: Writable,
  onProgress: JobTools['onProgress'],
): Promise<SentFacts> {
  const isPlain = compression.algorithm === 'none'
  const plain = new Meter()
  const stored = isPlain ? plain : new Meter()
  async function* metered(): AsyncGenerator<Uint8Array | ReadyFrame> {
    for await (const piece of source) {
      plain.update(plainOf(piece))
      onProgress(plain.bytes)
      yield piece
    }
  }
  async function* frames(): AsyncGenerator<Uint8Array> {
    for await (const frame of compress(metered(), compression)) {
      if (!isPlain) stored.update(frame)
      yield frame
      if (!isPlain && channel.writableLength === 0) freeFrame(frame)
    }
  }
  await pipeline(frames(), channel)
  return { plain: plain.facts(), stored: stored.facts() }
}
