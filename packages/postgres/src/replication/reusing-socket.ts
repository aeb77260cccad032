import { Socket } from 'node:net'

/** About what a Unix socket gives at once. Small enough to stay in the processor's cache until it is copied. */
const READ_BYTES = 256 * 1024

/** See {@link openReusingSocket}. */
export interface ReusingSocket {
  readonly socket: Socket
  /** From now on `take` gets what comes, instead of the listeners of `data`. A chunk is overwritten after the call. */
  handOver(take: (chunk: Buffer) => void): void
}

/**
 * A socket that reads into one buffer over and over. Node's own way is a new one of 64 KiB for each read, which for a
 * whole cluster leaves V8 with more garbage to find than there is other work. Not for TLS, which has its own way.
 */
export function openReusingSocket(): ReusingSocket {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
  // Those who listen before `handOver` may keep what they get.
  let take = (chunk: Buffer): void => void socket.emit('data', Buffer.from(chunk))
  const socket: Socket = new Socket({
    onread: {
      buffer,
      callback(length) {
        take(buffer.subarray(0, length))
        return true
      },
    },
  })
  return {
    socket,
    handOver(next) {
      take = next
    },
  }
}
