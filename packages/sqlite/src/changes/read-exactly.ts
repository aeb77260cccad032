import { BackupError } from '@taskflow-backup/core'
import type { ReadExactly } from './format.ts'

/** Reads a stream of pieces as {@link ReadExactly} needs it. What is behind the last byte read stays unread. */
export function readerOf(body: AsyncIterable<Uint8Array>): ReadExactly & {
  /** What is left: the pieces that were not read yet. */
  rest(): AsyncGenerator<Uint8Array>
} {
  const source = body[Symbol.asyncIterator]()
  let pending: Uint8Array = new Uint8Array(0)
  const read = async (bytes: number): Promise<Buffer> => {
    const pieces: Uint8Array[] = []
    for (let missing = bytes; missing > 0; ) {
      if (pending.length === 0) {
        const { value, done } = await source.next()
        if (done) throw tooShort()
        pending = value
      }
      const piece = pending.subarray(0, missing)
      pieces.push(piece)
      pending = pending.subarray(piece.length)
      missing -= piece.length
    }
    return Buffer.concat(pieces, bytes)
  }
  async function* rest(): AsyncGenerator<Uint8Array> {
    if (pending.length > 0) yield pending
    for (let step = await source.next(); !step.done; step = await source.next()) yield step.value
  }
  return Object.assign(read, { rest })
}

export const tooShort = (): BackupError =>
  new BackupError('MEMBER_DAMAGED', 'It is no list of changes that this version reads: it ends too early.')
