import { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { freeMemory } from '../pipeline/free-memory.ts'

/** What passes is gathered into pieces of this size: each costs every stage and every write about as much as a small one. */
const PIECE_BYTES = 1024 * 1024
/** With so many pieces waiting, the channel is not read from any more. */
const MOST_WAITING = 3

/**
 * What comes over a channel, in large pieces. Each is gone when the next is asked for: the same few buffers are used
 * over and over, so that V8 is not made to look for garbage. Destroys the channel when it ends, in whichever way.
 */
export async function* channelPieces(channel: Readable): AsyncGenerator<Buffer, void, void> {
  const free: Buffer[] = []
  const waiting: Buffer[] = []
  let piece: Buffer | undefined
  let filled = 0
  let ended = channel.readableEnded || channel.destroyed
  let failure: unknown = channel.errored
  let wake = (): void => {}

  const onData = (chunk: Buffer): void => {
    for (let at = 0; at < chunk.length; ) {
      piece ??= free.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES)
      const end = Math.min(chunk.length, at + PIECE_BYTES - filled)
      chunk.copy(piece, filled, at, end)
      filled += end - at
      at = end
      if (filled < PIECE_BYTES) continue
      waiting.push(piece)
      piece = undefined
      filled = 0
      wake()
    }
    if (waiting.length >= MOST_WAITING) channel.pause()
    // What a socket read is in memory of its own, which nobody else knows.
    if (channel instanceof Socket) freeMemory(chunk)
  }
  const onEnd = (): void => {
    ended = true
    wake()
  }
  const onError = (error: unknown): void => {
    failure = error
    onEnd()
  }
  channel.on('end', onEnd).on('close', onEnd).on('error', onError)
  if (!ended) channel.on('data', onData)
  try {
    for (;;) {
      const next = waiting.shift()
      if (next) {
        if (waiting.length < MOST_WAITING && channel.isPaused()) channel.resume()
        yield next
        free.push(next)
      } else if (failure) throw failure
      else if (ended) break
      else await new Promise<void>((resolve) => (wake = resolve))
    }
    if (piece) yield piece.subarray(0, filled)
  } finally {
    channel.off('data', onData).destroy()
  }
}
