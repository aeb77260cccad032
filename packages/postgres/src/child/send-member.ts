import { availableParallelism } from 'node:os'
import { type Compression, compressFrame, freeFrame, inOrder, Meter, type ThreadMeter } from '@taskflow-backup/core'
import type { MemberSender } from '../member-channel.ts'

/** Each holds a slab and its compressed frame. */
const FRAMES_IN_FLIGHT = Math.min(availableParallelism(), 4) + 2
/** The thread that hashes always has one waiting while others are read and sent. */
const PLAIN_IN_FLIGHT = 4

/** What looks at a member on its way. */
export interface MemberWatch {
  readonly onPlain?: (chunk: Buffer) => void
  /** Called when `chunk` is not needed any more; not for every one. */
  readonly onDone?: (chunk: Buffer) => void
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
  plain: Meter | ThreadMeter = new Meter(),
): Promise<void> {
  const stored = new Meter()
  await sender.begin({ name, codecs: algorithm === 'none' ? [] : [{ name: algorithm, level }] })
  const isPlain = algorithm === 'none'
  const frames = inOrder(atLeastOne(chunks), isPlain ? PLAIN_IN_FLIGHT : FRAMES_IN_FLIGHT, async (chunk) => {
    const compressed = compressFrame(chunk, { algorithm, level })
    compressed.catch(() => {}) // thrown where it is awaited
    const hashed = plain.update(chunk)
    hashed?.catch(() => {})
    watch.onPlain?.(chunk) // while others compress and hash it
    const frame = await compressed
    await hashed
    return { chunk, frame }
  })
  for await (const { chunk, frame } of frames) {
    if (!isPlain) stored.update(frame)
    await sender.data(frame)
    // What is not compressed waits in the channel itself.
    if (frame !== chunk || sender.isEmpty) watch.onDone?.(chunk)
    if (frame !== chunk && sender.isEmpty) freeFrame(frame)
  }
  watch.onEnd?.()
  const facts = await plain.facts()
  await sender.end({ plain: facts, stored: isPlain ? facts : stored.facts() })
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
