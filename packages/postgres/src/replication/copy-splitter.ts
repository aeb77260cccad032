import { BackupError } from '@taskflow-backup/core'

const HEADER_BYTES = 5
const COPY_DATA = 0x64
/** PostgreSQL's own limit for a message. */
const MOST_MESSAGE_BYTES = 0x3fffffff

/** What a {@link CopySplitter} tells. */
export interface SplitterEvents {
  /**
   * A piece of a CopyData message's payload, not copied: it is overwritten or held by others after the call. Every
   * message has a `first` and a `last` piece, which are the same for a short one, and an empty one for an empty message.
   */
  readonly onCopyData: (piece: Buffer, first: boolean, last: boolean) => void
  /** Any other message, whole, with its header. */
  readonly onMessage: (message: Buffer) => void
}

/**
 * Splits what a server sends into messages. Payloads of CopyData are handed on as they come, without waiting for the
 * rest of their message and without a copy; all other messages are small and are put together first.
 */
export class CopySplitter {
  readonly #events: SplitterEvents
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerFilled = 0
  /** Bytes of the message that have not come yet; meaningful while `#inMessage`. */
  #left = 0
  #inMessage = false
  #first = false
  /** The message that is put together; `undefined` while it is CopyData. */
  #message: Buffer | undefined

  constructor(events: SplitterEvents) {
    this.#events = events
  }

  /** @throws `SERVER_FAILED` for what is no message */
  feed(chunk: Buffer): void {
    let at = 0
    for (;;) {
      if (!this.#inMessage) {
        at = this.#readHeader(chunk, at)
        if (!this.#inMessage) return
      }
      // A message without payload is complete as soon as its header is.
      if (at === chunk.length && this.#left > 0) return
      at = this.#readPayload(chunk, at)
    }
  }

  #readHeader(chunk: Buffer, at: number): number {
    const taken = Math.min(HEADER_BYTES - this.#headerFilled, chunk.length - at)
    chunk.copy(this.#header, this.#headerFilled, at, at + taken)
    this.#headerFilled += taken
    if (this.#headerFilled < HEADER_BYTES) return at + taken
    this.#headerFilled = 0
    const length = this.#header.readUInt32BE(1)
    if (length < 4 || length > MOST_MESSAGE_BYTES)
      throw new BackupError('SERVER_FAILED', `The server sent a message of ${length} bytes, which cannot be.`)
    this.#left = length - 4
    this.#inMessage = true
    this.#first = true
    this.#message = undefined
    if (this.#header[0] !== COPY_DATA) {
      this.#message = Buffer.allocUnsafe(length + 1)
      this.#header.copy(this.#message)
    }
    return at + taken
  }

  #readPayload(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left)
    this.#left -= end - at
    this.#inMessage = this.#left > 0
    const first = this.#first
    this.#first = false
    const message = this.#message
    if (!message) {
      this.#events.onCopyData(chunk.subarray(at, end), first, !this.#inMessage)
      return end
    }
    chunk.copy(message, message.length - this.#left - (end - at), at, end)
    if (!this.#inMessage) this.#events.onMessage(message)
    return end
  }
}
