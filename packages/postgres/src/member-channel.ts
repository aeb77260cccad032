import type { Readable, Writable } from 'node:stream'
import {
  BackupError,
  type CodecUse,
  channelPieces,
  LentBody,
  type SentFacts,
  toBackupError,
} from '@taskflow-backup/core'

// Several members of a backup over one channel from the child to the app's process. A frame is one byte for what it is,
// four for its length (big endian), and that many bytes. The end of a member is a frame of its own: a channel that ends
// without it was cut short.

const HEADER_BYTES = 5
const BEGIN = 0x42
const DATA = 0x44
const END = 0x45
/** Frames of JSON are short. */
const MOST_JSON_BYTES = 64 * 1024
const BROKEN = 'The channel of the child process broke'

/** How a member is called and what was done to it. */
export interface ChannelMember {
  readonly name: string
  readonly codecs: readonly CodecUse[]
}

/** A member as it arrives. The next one can be asked for when its body was read to the end. */
export interface ReceivedMember extends ChannelMember {
  readonly body: Readable
  /** Call after `body` has ended. */
  readonly facts: () => SentFacts
}

/** The child's side: one member after the other. */
export class MemberSender {
  readonly #output: Writable

  constructor(output: Writable) {
    this.#output = output
  }

  async begin(member: ChannelMember): Promise<void> {
    await this.#frame(BEGIN, Buffer.from(JSON.stringify(member)))
  }

  /** Resolves when there is room for more. */
  async data(bytes: Uint8Array): Promise<void> {
    if (bytes.length > 0) await this.#frame(DATA, bytes)
  }

  /** Says that the member is whole. */
  async end(facts: SentFacts): Promise<void> {
    await this.#frame(END, Buffer.from(JSON.stringify(facts)))
  }

  /** Nothing that was sent waits in this process any more. */
  get isEmpty(): boolean {
    return this.#output.writableLength === 0
  }

  /** Resolves when everything is on its way. */
  async finish(): Promise<void> {
    this.#refuseBroken()
    this.#output.end()
    await this.#until('finish')
  }

  async #frame(kind: number, payload: Uint8Array): Promise<void> {
    this.#refuseBroken()
    const header = Buffer.alloc(HEADER_BYTES)
    header[0] = kind
    header.writeUInt32BE(payload.length, 1)
    this.#output.cork()
    this.#output.write(header)
    const room = this.#output.write(payload)
    this.#output.uncork()
    if (!room) await this.#until('drain')
  }

  /** A channel that breaks is closed; then neither of the events comes any more. */
  #until(event: 'drain' | 'finish'): Promise<void> {
    const output = this.#output
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        output.off(event, settle).off('close', settle)
        if (event === 'finish' ? output.writableFinished : !output.destroyed) resolve()
        else reject(this.#broken())
      }
      output.once(event, settle).once('close', settle)
    })
  }

  /** Nothing tells that what is written to a closed channel is lost. */
  #refuseBroken(): void {
    if (this.#output.destroyed) throw this.#broken()
  }

  #broken(): BackupError {
    return toBackupError(this.#output.errored ?? new Error('it was closed'), 'CHILD_FAILED', BROKEN)
  }
}

/**
 * The parent's side. `failure` is asked for the reason when the channel ends too early; when it resolves, there is none
 * and the channel was cut.
 *
 * @throws what `failure` rejects with, `CHILD_FAILED`
 */
export async function* receiveMembers(
  channel: Readable,
  failure: () => Promise<unknown>,
): AsyncGenerator<ReceivedMember, void, void> {
  const frames = new FrameReader(channel, failure)
  try {
    for (;;) {
      const header = await frames.next()
      if (!header) {
        await failure()
        return
      }
      if (header.kind !== BEGIN) throw garbled('something that is no begin of a member')
      const member = (await frames.json(header)) as ChannelMember
      let facts: SentFacts | undefined
      const body = async function* (): AsyncGenerator<Buffer, void, void> {
        for (;;) {
          const frame = await frames.next()
          if (!frame) throw await frames.cut()
          if (frame.kind === DATA) yield* frames.payload(frame)
          else if (frame.kind === END) {
            facts = (await frames.json(frame)) as SentFacts
            return
          } else throw garbled('a member inside of another')
        }
      }
      yield {
        ...member,
        body: new LentBody(body()),
        facts: () => {
          if (!facts) throw new BackupError('INTERNAL', `${member.name} has not ended yet.`)
          return facts
        },
      }
      if (!facts) throw new BackupError('CONTRACT_BROKEN', `The next member was asked for before ${member.name} ended.`)
    }
  } finally {
    channel.destroy() // not the iterator's own return, which would wait for what the child sends next
  }
}

const garbled = (what: string): BackupError => new BackupError('INTERNAL', `The child process sent ${what}.`)

interface Frame {
  readonly kind: number
  readonly length: number
}

/** Its pieces are gone when the next one is asked for. */
class FrameReader {
  readonly #source: AsyncGenerator<Buffer, void, void>
  readonly #failure: () => Promise<unknown>
  #pending: Buffer = Buffer.alloc(0)

  constructor(channel: Readable, failure: () => Promise<unknown>) {
    this.#source = channelPieces(channel)
    this.#failure = failure
  }

  /** The next frame's header; `undefined` when the channel ends here. */
  async next(): Promise<Frame | undefined> {
    const header = Buffer.alloc(HEADER_BYTES)
    for (let filled = 0; filled < HEADER_BYTES; ) {
      if (this.#pending.length === 0 && !(await this.#read())) {
        if (filled > 0) throw await this.cut()
        return undefined
      }
      const taken = this.#pending.copy(header, filled)
      this.#pending = this.#pending.subarray(taken)
      filled += taken
    }
    return { kind: header[0] as number, length: header.readUInt32BE(1) }
  }

  async *payload({ length }: Frame): AsyncGenerator<Buffer> {
    for (let left = length; left > 0; ) {
      if (this.#pending.length === 0 && !(await this.#read())) throw await this.cut()
      const piece = this.#pending.subarray(0, left)
      this.#pending = this.#pending.subarray(piece.length)
      left -= piece.length
      yield piece
    }
  }

  async json(frame: Frame): Promise<unknown> {
    if (frame.length > MOST_JSON_BYTES) throw garbled(`a header of ${frame.length} bytes`)
    const bytes = Buffer.alloc(frame.length)
    let filled = 0
    for await (const piece of this.payload(frame)) filled += piece.copy(bytes, filled)
    return JSON.parse(bytes.toString())
  }

  /** Why the channel ended too early. */
  async cut(): Promise<BackupError> {
    await this.#failure()
    return new BackupError('CHILD_FAILED', 'The child process ended in the middle of a member.')
  }

  /** False when nothing more comes. */
  async #read(): Promise<boolean> {
    try {
      const { value } = await this.#source.next()
      this.#pending = value ?? Buffer.alloc(0)
      return value !== undefined
    } catch (error) {
      await this.#failure() // a child that was killed resets its channel
      throw toBackupError(error, 'CHILD_FAILED', BROKEN)
    }
  }
}
