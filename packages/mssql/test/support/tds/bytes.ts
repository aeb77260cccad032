/** The small encodings TDS is made of. All numbers are little endian unless a name says otherwise. */

export const u8 = (value: number): Buffer => Buffer.from([value & 0xff])

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16LE(value)
  return bytes
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}

export const utf16 = (text: string): Buffer => Buffer.from(text, 'utf16le')

/** B_VARCHAR: at most 255 characters. */
export const bVarchar = (text: string): Buffer => Buffer.concat([u8(text.length), utf16(text)])

/** US_VARCHAR: at most 65,535 characters. */
export const usVarchar = (text: string): Buffer => Buffer.concat([u16(text.length), utf16(text)])

/** Reads forward through a message; past its end every read throws. */
export class Cursor {
  readonly bytes: Buffer
  at: number

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  get ended(): boolean {
    return this.at >= this.bytes.length
  }

  u8 = (): number => this.bytes.readUInt8(this.#past(1))
  u16 = (): number => this.bytes.readUInt16LE(this.#past(2))
  u32 = (): number => this.bytes.readUInt32LE(this.#past(4))
  i32 = (): number => this.bytes.readInt32LE(this.#past(4))
  u64 = (): bigint => this.bytes.readBigUInt64LE(this.#past(8))

  take(length: number): Buffer {
    const from = this.#past(length)
    if (this.at > this.bytes.length)
      throw new RangeError(`a TDS message ends ${this.at - this.bytes.length} bytes early`)
    return this.bytes.subarray(from, this.at)
  }

  utf16 = (characters: number): string => this.take(characters * 2).toString('utf16le')

  #past(length: number): number {
    const from = this.at
    this.at += length
    return from
  }
}
