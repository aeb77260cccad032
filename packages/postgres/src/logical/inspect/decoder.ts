import { once } from 'node:events'
import type { Transform } from 'node:stream'
import { constants, createInflate, createZstdDecompress } from 'node:zlib'
import { DumpDamage } from './dump-reader.ts'
import type { DumpCompression } from './table-of-contents.ts'

/** Inflates the data of one entry and throws it away: what matters is that it can be inflated to its end. */
export interface Decoder {
  push(piece: Buffer): void | Promise<void>
  /** Throws when the compressed stream has not come to its own end. */
  end(): void | Promise<void>
  close(): void
}

/** Zlib-sync gets at most this much at a time, which bounds what a hostile piece makes. */
const PIECE_BYTES = 8 * 1024
const STREAM_END = 1
const TRAILING = 'There is more data after the end of a compressed stream.'

/** A decoder for data of this compression; `undefined` when there is nothing to inflate. */
export function decoderFor(compression: DumpCompression, newSyncInflate?: NewSyncInflate): Decoder | undefined {
  if (compression === 'gzip') {
    const inflate = newSyncInflate?.()
    return inflate ? inflateAtOnce(inflate) : inflateInPool(createInflate())
  }
  if (compression === 'zstd') return inflateInPool(createZstdDecompress())
  if (compression === 'lz4') return lookAtFrame()
  return undefined
}

/** What is used of an `Inflate` of the optional package `zlib-sync`. */
export interface SyncInflate {
  readonly err: number
  readonly msg: string | null
  push(piece: Buffer, flush: number): void
}

/** Makes one, as long as there are any: see `child/zlib-sync.ts`. */
export type NewSyncInflate = () => SyncInflate | undefined

/** About three times as fast as the streams of `node:zlib`, which go to the pool and back for each piece. */
function inflateAtOnce(inflate: SyncInflate): Decoder {
  const hasEnded = (): boolean => inflate.err === STREAM_END
  return {
    push(piece) {
      for (let at = 0; at < piece.length; at += PIECE_BYTES) {
        if (hasEnded()) throw new DumpDamage(TRAILING)
        inflate.push(piece.subarray(at, at + PIECE_BYTES), constants.Z_SYNC_FLUSH)
        if (inflate.err < 0) throw new Error(inflate.msg ?? `zlib error ${inflate.err}`)
      }
    },
    end() {
      if (!hasEnded()) throw new Error('unexpected end of data')
    },
    close() {},
  }
}

function inflateInPool(stream: Transform & { readonly bytesWritten: number }): Decoder {
  let sent = 0
  let failure: Error | undefined
  stream.once('error', (error) => {
    failure = error
  })
  const ended = once(stream, 'end')
  ended.catch(() => {}) // thrown below
  stream.resume()
  return {
    async push(piece) {
      if (failure) throw failure
      sent += piece.length
      const written = new Promise<void>((resolve, reject) => {
        stream.write(piece, (error) => (error ? reject(error) : resolve()))
      })
      // With more data than its own, the stream ends and never answers.
      const early = ended.then(() => {
        throw new DumpDamage(TRAILING)
      })
      early.catch(() => {})
      await Promise.race([written, early])
    },
    async end() {
      if (failure) throw failure
      stream.end()
      await ended
      if (stream.bytesWritten < sent) throw new DumpDamage(TRAILING)
    },
    close: () => void stream.destroy(),
  }
}

/** Node.js has no LZ4: what can be seen is that a frame begins. */
function lookAtFrame(): Decoder {
  const begin = Buffer.from([0x04, 0x22, 0x4d, 0x18])
  let head = Buffer.alloc(0)
  return {
    push(piece) {
      if (head.length < begin.length) head = Buffer.concat([head, piece.subarray(0, begin.length - head.length)])
    },
    end() {
      if (!head.equals(begin)) throw new Error('it does not begin like a frame of LZ4')
    },
    close() {},
  }
}
