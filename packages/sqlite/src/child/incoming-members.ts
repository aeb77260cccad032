import { Readable } from 'node:stream'
import { BackupError, type ManifestMember, unpackMember } from '@taskflow-backup/core'

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
    const stored = Readable.from(this.#take(member.stored.bytes), { objectMode: false })
    return unpackMember(member, stored, () => {}) // the parent tells how far it is
  }

  /** Takes no more. */
  close(): void {
    this.#channel.destroy()
  }

  async *#take(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0; ) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#chunks.next()
        if (done) throw new BackupError('MEMBER_DAMAGED', 'The stored members end too early.')
        this.#rest = value
      }
      const piece = this.#rest.subarray(0, left)
      this.#rest = this.#rest.subarray(piece.length)
      left -= piece.length
      yield piece
    }
  }
}
