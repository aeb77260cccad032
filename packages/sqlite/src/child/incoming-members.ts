import { Readable } from 'node:stream'
import {
  BackupError,
  type ManifestMember,
  type PlainHashing,
  unpackMember,
  unpackWhole,
  wholeBody,
} from '@taskflow-backup/core'

/** Longer ones are unpacked beside what is done with them. */
const SMALL_BYTES = 1024 * 1024

/** The stored members that the parent sends over one channel, back to back: their manifests tell where each ends. */
export class IncomingMembers {
  readonly #channel: Readable
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(channel: Readable) {
    this.#channel = channel
    this.#chunks = channel[Symbol.asyncIterator]()
  }

  /**
   * The plain content of the next one, see `unpackMember`: a piece is gone when the next is asked for. To be read to its
   * end before the one after it.
   */
  next(member: ManifestMember): AsyncGenerator<Buffer> {
    return this.#unpack(member, 'caller')
  }

  /**
   * The same of a member `.changes`. Its plain content is not hashed as a whole: its index has a SHA-256 of its own, and a
   * hash for each page, which is held against the page by whoever uses that. `onStored` is given the stored bytes.
   */
  nextChanges(member: ManifestMember, onStored?: (bytes: Buffer) => void): AsyncGenerator<Buffer> {
    return this.#unpack(member, 'not', onStored)
  }

  async *#unpack(
    member: ManifestMember,
    plainHashing: Exclude<PlainHashing, 'thread'>,
    onStored?: (bytes: Buffer) => void,
  ): AsyncGenerator<Buffer> {
    const pieces = this.#take(member.stored.bytes, onStored)
    if (Math.max(member.stored.bytes, member.plain.bytes) <= SMALL_BYTES) {
      yield* unpackWhole(member, await wholeBody(pieces), { plainHashing })
    } else {
      const stored = Readable.from(pieces, { objectMode: false })
      yield* unpackMember(member, stored, () => {}, { plainHashing }) // the parent tells how far it is
    }
  }

  /** Takes no more. */
  close(): void {
    this.#channel.destroy()
  }

  async *#take(bytes: number, onTaken?: (piece: Buffer) => void): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; ) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#chunks.next()
        if (done) throw new BackupError('MEMBER_DAMAGED', 'The stored members end too early.')
        this.#rest = value
      }
      const piece = this.#rest.subarray(0, left)
      this.#rest = this.#rest.subarray(piece.length)
      left -= piece.length
      onTaken?.(piece)
      yield piece
    }
  }
}
