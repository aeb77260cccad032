/** Packets: an 8-byte header, then payload; a message is one or more packets, the last one marked. */

export const MESSAGE = {
  batch: 0x01,
  rpc: 0x03,
  response: 0x04,
  attention: 0x06,
  transaction: 0x0e,
  login7: 0x10,
  prelogin: 0x12,
} as const

const HEADER = 8
const END_OF_MESSAGE = 0x01
const IGNORE = 0x02
const RESET_CONNECTION = 0x08 | 0x10

export interface Message {
  readonly type: number
  readonly payload: Buffer
  /** The client asks for a session as new before this request (sp_reset_connection). */
  readonly reset: boolean
}

/** Cuts a byte stream into messages. */
export class MessageReader {
  #pending: Buffer = Buffer.alloc(0)
  #parts: Buffer[] = []
  #reset = false

  /** Nothing of a message has come yet. */
  get isBetween(): boolean {
    return this.#pending.length === 0 && this.#parts.length === 0
  }

  /** The messages that are complete with these bytes. */
  push(bytes: Buffer): Message[] {
    const messages: Message[] = []
    this.#pending = this.#pending.length ? Buffer.concat([this.#pending, bytes]) : bytes
    while (this.#pending.length >= HEADER) {
      const length = this.#pending.readUInt16BE(2)
      if (length < HEADER) throw new RangeError(`a TDS packet says it is ${length} bytes long`)
      if (this.#pending.length < length) break
      const packet = this.#pending.subarray(0, length)
      this.#pending = this.#pending.subarray(length)
      const message = this.#packet(packet)
      if (message) messages.push(message)
    }
    return messages
  }

  #packet(packet: Buffer): Message | undefined {
    const status = packet.readUInt8(1)
    this.#reset ||= (status & RESET_CONNECTION) !== 0
    this.#parts.push(packet.subarray(HEADER))
    if (!(status & END_OF_MESSAGE)) return undefined
    const message = { type: packet.readUInt8(0), payload: Buffer.concat(this.#parts), reset: this.#reset }
    this.#parts = []
    this.#reset = false
    return status & IGNORE ? undefined : message
  }
}

/** The packets of one payload. `last` ends the message; otherwise more packets of it must follow. */
export function packets(type: number, payload: Buffer, last: boolean, packetSize: number, process = 0): Buffer {
  const room = packetSize - HEADER
  const made: Buffer[] = []
  let from = 0
  do {
    const part = payload.subarray(from, from + room)
    from += room
    const header = Buffer.alloc(HEADER)
    header.writeUInt8(type, 0)
    header.writeUInt8(last && from >= payload.length ? END_OF_MESSAGE : 0, 1)
    header.writeUInt16BE(part.length + HEADER, 2)
    header.writeUInt16BE(process & 0xffff, 4)
    header.writeUInt8((made.length / 2 + 1) & 0xff, 6)
    made.push(header, part)
  } while (from < payload.length)
  return Buffer.concat(made)
}
