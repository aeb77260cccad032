import { availableParallelism } from 'node:os'
import { type Compression, compressFrame, inOrder, Meter } from '@taskflow-backup/core'
import type { MemberSender } from '../member-channel.ts'

/** Each holds a slab and its compressed frame. */
const FRAMES_IN_FLIGHT = Math.min(availableParallelism(), 4) + 2

/** What looks at a member on its way. */
export interface MemberWatch {
  readonly onPlain?: (chunk: Buffer) => void
  /** Called when `chunk`, or what became of it, has been handed to the channel. */
  readonly onSent?: (chunk: Buffer) => void
  /** Called after the last byte; when it throws, the member does not end. */
  readonly onEnd?: () => void
}

/** Hashes, compresses and sends one member. Its end is sent after `chunks` ended without error. */
export async function sendMember(
  sender: MemberSender,
  name: string,
  chunks: AsyncIterable<Buffer>,
  { algorithm, level }: Compression,
  watch: MemberWatch = {},
): Promise<void> {
  const plain = new Meter()
  const stored = new Meter()
  await sender.begin({ name, codecs: algorithm === 'none' ? [] : [{ name: algorithm, level }] })
  const isPlain = algorithm === 'none'
  // Nothing is at work for what is not compressed: it need not wait for others.
  const frames = inOrder(atLeastOne(chunks), isPlain ? 1 : FRAMES_IN_FLIGHT, async (chunk) => {
    const compressed = compressFrame(chunk, { algorithm, level })
    compressed.catch(() => {}) // thrown where it is awaited
    watch.onPlain?.(chunk) // while the pool compresses it
    plain.update(chunk)
    return { chunk, frame: await compressed }
  })
  for await (const { chunk, frame } of frames) {
    if (!isPlain) stored.update(frame)
    await sender.data(frame)
    watch.onSent?.(chunk)
  }
  watch.onEnd?.()
  await sender.end({ plain: plain.facts(), stored: isPlain ? plain.facts() : stored.facts() })
}

/** Nothing at all is one empty frame, so that it is a file too. */
async function* atLeastOne(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let empty = true
  for await (const chunk of chunks) {
    empty = false
    yield chunk
  }
  if (empty) yield Buffer.alloc(0)
}
