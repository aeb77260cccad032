import { Readable } from 'node:stream'
import type { Compression, Member } from '../contracts/adapter.ts'
import type { CodecUse, ManifestMember, StreamFacts } from '../contracts/backup.ts'
import { BackupError, toBackupError } from '../errors.ts'
import { isReservedFile } from '../layout.ts'
import { isKeySegment } from '../storage/key.ts'
import { COMPRESSION_SUFFIX, compress, freeFrame } from './compress.ts'
import { canDecode, decode } from './decompress.ts'
import { borrow } from './lent-body.ts'
import { Meter } from './meter.ts'
import { meterFor } from './thread-meter.ts'

/** Copies that may be kept. V8 looks for garbage when there are many objects; larger ones pile up before it does. */
const KEPT_BYTES = 16 * 1024

const SUFFIX: Readonly<Record<string, string>> = COMPRESSION_SUFFIX

/**
 * Where the plain content of a member is hashed: in the `caller`'s thread, in a `thread` of its own for all but small
 * members, beside the caller's own work, for a process that has nothing else to do, or `not` at all, for a caller that
 * holds the content against hashes in it. Length and stored content are always held against the manifest.
 */
export type PlainHashing = 'caller' | 'thread' | 'not'

/** A member on its way out: its stored bytes, and what its manifest entry will be once they have passed. */
export interface Outgoing {
  readonly file: string
  /** A piece may be gone when the next one is asked for. */
  readonly stored: AsyncIterable<Uint8Array>
  /** Call after `stored` has ended. */
  readonly facts: () => ManifestMember
}

/**
 * Puts the stages behind a member's body: meter, compress, meter; those that the source has done already are left out.
 *
 * @throws `CONTRACT_BROKEN` for a member that no storage would take
 */
export function outgoing(member: Member, compression: Compression): Outgoing {
  const { name, body, encoded } = member
  const codecs: readonly CodecUse[] =
    encoded?.codecs ??
    (compression.algorithm === 'none' ? [] : [{ name: compression.algorithm, level: compression.level }])
  const file = name + codecs.map((codec) => SUFFIX[codec.name] ?? `.${codec.name}`).join('')
  const broken = (why: string): BackupError => {
    body.destroy()
    return new BackupError('CONTRACT_BROKEN', `The adapter gave a member ${why}.`)
  }
  if (!isKeySegment(name) || !isKeySegment(file)) throw broken(`a name that storages refuse: ${JSON.stringify(name)}`)
  if (isReservedFile(file)) throw broken(`a name that means something else: ${file}`)
  const unknown = codecs.find((codec) => !canDecode(codec.name))
  if (unknown) throw broken(`that is encoded with "${unknown.name}", which cannot be undone`)
  const plain = new Meter()
  const stored = new Meter()
  const pieces = borrow(body)
  const stages = encoded ? pieces : compressed(plain.through(pieces), compression)
  const given = encoded?.stored
  let sent = 0
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      sent += piece.length
      yield piece
    }
  }
  return {
    file,
    stored: given ? counted() : stored.through(stages),
    facts: () => ({
      name,
      file,
      codecs,
      plain: encoded ? encoded.plain() : plain.facts(),
      stored: given ? sameLength(given(), sent, file) : stored.facts(),
    }),
  }
}

/** Each frame is freed when the next one is asked for. */
async function* compressed(plain: AsyncIterable<Uint8Array>, compression: Compression): AsyncGenerator<Uint8Array> {
  for await (const frame of compress(plain, compression)) {
    yield frame
    if (compression.algorithm !== 'none') freeFrame(frame)
  }
}

/** The source's own facts of what it sent, if that is as long as what arrived. */
function sameLength(given: StreamFacts, bytes: number, file: string): StreamFacts {
  if (given.bytes === bytes) return given
  throw new BackupError(
    'CONTRACT_BROKEN',
    `The adapter sent ${bytes} bytes of ${file} and says that it sent ${given.bytes}.`,
  )
}

/**
 * The plain content of a stored member, as {@link unpackMember} gives it, but its pieces may be kept.
 *
 * @throws `CODEC_UNKNOWN` at once; the stream fails with `MEMBER_DAMAGED`
 */
export function decodeMember(member: ManifestMember, object: Readable, onBytes: (bytes: number) => void): Readable {
  // Little is read ahead: copies that wait grow old, and V8 looks for old garbage last.
  const body = Readable.from(copies(unpackMember(member, object, onBytes)), { objectMode: false })
  // A body that is destroyed before it was read never enters its generator.
  return body.once('close', () => object.destroy())
}

async function* copies(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length; at += KEPT_BYTES) yield Buffer.from(piece.subarray(at, at + KEPT_BYTES))
  }
}

/**
 * The plain content of a stored member: meter, decode, meter. Both meters are held against the manifest; the iteration
 * fails before its end when anything differs, see {@link PlainHashing}. Runs wherever the stored bytes are: in the app's process behind
 * `OpenBackup.open`, or in an adapter's own process behind `OpenBackup.openStored`.
 *
 * **A piece is gone when the next one is asked for**: its memory is freed, so that little is needed for however much.
 *
 * `onBytes` is told how many plain bytes have passed in all. Whoever does not iterate destroys `object`.
 *
 * @throws `CODEC_UNKNOWN` at once; the iteration fails with `MEMBER_DAMAGED`
 */
export function unpackMember(
  member: ManifestMember,
  object: Readable,
  onBytes: (bytes: number) => void,
  { plainHashing = 'caller' }: { readonly plainHashing?: PlainHashing } = {},
): AsyncGenerator<Buffer> {
  const encoded = member.codecs.length > 0
  const hashes = !encoded || plainHashing !== 'not'
  const plain = plainHashing === 'thread' ? meterFor(member.plain.bytes) : new Meter({ hashes })
  // What was not encoded is the same before and after.
  const stored = encoded ? new Meter() : plain
  const source = guarded(stored.through(object), stored, member.stored.bytes, member.file)
  let decoded: AsyncIterable<Uint8Array>
  try {
    decoded = decode(source, member.codecs)
  } catch (error) {
    object.destroy()
    throw error
  }
  return checked()

  async function* checked(): AsyncGenerator<Buffer> {
    try {
      const pieces = encoded ? guarded(plain.through(decoded), plain, member.plain.bytes, member.name) : source
      for await (const piece of pieces) {
        onBytes(plain.bytes)
        yield piece
      }
      const facts = await plain.facts()
      compare(member.file, 'stored', encoded ? await stored.facts() : facts, member.stored)
      compare(member.name, 'plain', hashes ? facts : { ...facts, sha256: member.plain.sha256 }, member.plain)
    } catch (error) {
      throw named(toBackupError(error, 'STORAGE_FAILED', `Cannot read ${member.file}`), member.file)
    } finally {
      object.destroy()
      await plain.end()
    }
  }
}

/** A decoder knows what is wrong, but not with which member. */
function named(error: BackupError, file: string): BackupError {
  if (error.code !== 'MEMBER_DAMAGED' || error.message.includes(file)) return error
  return new BackupError('MEMBER_DAMAGED', `${file}: ${error.message}`, { cause: error })
}

/** Reads a stored object to its end and throws `MEMBER_DAMAGED` unless length and hash are those of the manifest. */
export async function checkStored(
  member: ManifestMember,
  object: Readable,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const stored = new Meter()
  for await (const _ of guarded(stored.through(borrow(object)), stored, member.stored.bytes, member.file))
    onBytes(stored.bytes)
  compare(member.file, 'stored', stored.facts(), member.stored)
}

async function* guarded(
  source: AsyncIterable<Buffer>,
  meter: { readonly bytes: number },
  bytes: number,
  what: string,
): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    if (meter.bytes > bytes)
      throw new BackupError('MEMBER_DAMAGED', `${what} is longer than its manifest says (${bytes} bytes).`)
    yield piece
  }
}

function compare(what: string, side: string, { bytes, sha256 }: StreamFacts, expected: StreamFacts): void {
  if (bytes !== expected.bytes) {
    throw new BackupError('MEMBER_DAMAGED', `${what} has ${bytes} ${side} bytes, its manifest says ${expected.bytes}.`)
  }
  if (sha256 !== expected.sha256) {
    throw new BackupError('MEMBER_DAMAGED', `${what} has another SHA-256 than its manifest says (${side} content).`)
  }
}
