import { Readable } from 'node:stream'
import { BackupError, type ManifestMember, unpackMember } from '@taskflow-backup/core'

/**
 * Takes apart a channel on which the stored bytes of several members follow one another. Each member must be read to
 * its end before the next one is opened.
 */
export class MemberSource {
  readonly #input: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(input: AsyncIterable<Buffer>) {
    this.#input = input[Symbol.asyncIterator]()
  }

  /**
   * Plain content of the next member; the iteration fails with `MEMBER_DAMAGED` unless it is what the manifest says. A
   * piece is gone when the next one is asked for.
   */
  open(member: ManifestMember): AsyncGenerator<Buffer> {
    return unpackMember(member, Readable.from(this.#take(member.stored.bytes), { objectMode: false }), () => {}, {
      plainHashing: 'thread',
    })
  }

  /** The whole of a small member. */
  async read(member: ManifestMember, maxBytes: number): Promise<Buffer> {
    if (member.plain.bytes > maxBytes)
      throw new BackupError('MEMBER_DAMAGED', `${member.name} has ${member.plain.bytes} bytes, more than it may.`)
    const pieces: Buffer[] = []
    for await (const piece of this.open(member)) pieces.push(Buffer.from(piece))
    return Buffer.concat(pieces)
  }

  async *#take(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; ) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#input.next()
        if (done) return // shorter than it should be: the decoder says so
        this.#rest = value
      }
      const piece = this.#rest.subarray(0, left)
      this.#rest = this.#rest.subarray(piece.length)
      left -= piece.length
      yield piece
    }
  }
}
