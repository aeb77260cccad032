import { Readable } from 'node:stream'

/** `length` bytes that differ from place to place, the same for the same `seed`. */
export function patterned(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = seed * 2_654_435_761 + 1
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

/** A stream of `bytes` in pieces of `pieceBytes`. */
export function streamOf(bytes: Uint8Array, pieceBytes = 64 * 1024): Readable {
  return Readable.from(pieces(bytes, pieceBytes), { objectMode: false })
}

/** A stream that gives `bytes` and then fails with `error`, or never goes on without one. */
export function brokenStream(bytes: Uint8Array, error?: Error): Readable {
  let given = false
  return new Readable({
    read() {
      if (!given) {
        given = true
        this.push(bytes)
      } else if (error) setImmediate(() => this.destroy(error))
    },
  })
}

/** All that a stream gives, in one buffer. */
export async function readAll(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const piece of stream) all.push(piece as Uint8Array)
  return Buffer.concat(all)
}

/** Every item of `items`. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
