import { hash } from 'node:crypto'
import { Readable } from 'node:stream'
import * as zlib from 'node:zlib'
import type { ManifestMember } from '../contracts/backup.ts'
import { freeMemory } from './free-memory.ts'
import { type PlainHashing, unpackMember } from './member.ts'

type Decode = (bytes: Buffer, options: { readonly maxOutputLength: number; readonly chunkSize: number }) => Buffer

const DECODERS: Readonly<Record<string, Decode>> = { zstd: zlib.zstdDecompressSync, gzip: zlib.gunzipSync }

/**
 * The same as {@link unpackMember} of a small member whose stored bytes are in memory, on this thread and at once: for a
 * process with many of them and nothing else to do. Its one piece is gone when the next is asked for.
 */
export async function* unpackWhole(
  member: ManifestMember,
  stored: Buffer,
  { plainHashing = 'caller' }: { readonly plainHashing?: Exclude<PlainHashing, 'thread'> } = {},
): AsyncGenerator<Buffer> {
  const plain = expected(member, stored, plainHashing)
  if (!plain) {
    // This knows what is wrong, and members of more than one frame.
    yield* unpackMember(member, Readable.from([stored], { objectMode: false }), () => {}, { plainHashing })
    return
  }
  yield plain
  // One byte more is what the decoder asked for. What was not encoded is the caller's.
  if (plain !== stored) freeMemory(plain, 1)
}

/** What the manifest tells, to the byte; nothing when it is not that. */
function expected(
  { codecs, plain, stored }: ManifestMember,
  bytes: Buffer,
  plainHashing: PlainHashing,
): Buffer | undefined {
  if (bytes.length !== stored.bytes || hash('sha256', bytes) !== stored.sha256) return undefined
  if (codecs.length === 0) return plain.bytes === stored.bytes && plain.sha256 === stored.sha256 ? bytes : undefined
  const decode = codecs.length === 1 ? DECODERS[codecs[0]?.name as string] : undefined
  const roomBytes = plain.bytes + 1
  let decoded: Buffer | undefined
  try {
    decoded = decode?.(bytes, { maxOutputLength: roomBytes, chunkSize: Math.max(roomBytes, 64) })
  } catch {
    return undefined
  }
  if (decoded?.length !== plain.bytes) return undefined
  return plainHashing === 'not' || hash('sha256', decoded) === plain.sha256 ? decoded : undefined
}
