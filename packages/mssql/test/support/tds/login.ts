import { Cursor, u8, u16 } from './bytes.ts'

export const ENCRYPTION = { off: 0, on: 1, notSupported: 2, required: 3 } as const

export interface Login {
  readonly user: string
  readonly password: string
  readonly database: string
  readonly application: string
  readonly packetSize: number
}

/** What the client's PRELOGIN says of encryption. */
export function askedEncryption(payload: Buffer): number {
  for (let at = 0; payload.readUInt8(at) !== 0xff; at += 5)
    if (payload.readUInt8(at) === 1) return payload.readUInt8(payload.readUInt16BE(at + 1))
  return ENCRYPTION.notSupported
}

/** The answer to PRELOGIN: version, encryption, instance, thread and MARS options. */
export function preloginAnswer(version: readonly [number, number, number], encryption: number): Buffer {
  const [major, minor, build] = version
  const options: readonly (readonly [number, Buffer])[] = [
    [0, Buffer.concat([Buffer.from([major, minor, build >> 8, build & 0xff]), u16(0)])],
    [1, u8(encryption)],
    [2, u8(0)],
    [3, Buffer.alloc(0)],
    [4, u8(0)],
  ]
  let offset = options.length * 5 + 1
  const index: Buffer[] = []
  for (const [token, data] of options) {
    const entry = Buffer.alloc(5)
    entry.writeUInt8(token, 0)
    entry.writeUInt16BE(offset, 1)
    entry.writeUInt16BE(data.length, 3)
    index.push(entry)
    offset += data.length
  }
  return Buffer.concat([...index, u8(0xff), ...options.map(([, data]) => data)])
}

/** LOGIN7: fixed fields, then {offset, length} pairs of texts. */
export function parseLogin(payload: Buffer): Login {
  const bytesAt = (at: number): Buffer => {
    const [offset, length] = [payload.readUInt16LE(at), payload.readUInt16LE(at + 2)]
    return new Cursor(payload, offset).take(length * 2)
  }
  const textAt = (at: number): string => bytesAt(at).toString('utf16le')
  return {
    packetSize: payload.readUInt32LE(8),
    user: textAt(40),
    password: unscramble(bytesAt(44)),
    application: textAt(48),
    database: textAt(68),
  }
}

/** Passwords travel with their nibbles swapped, then XORed with 0xA5. */
function unscramble(bytes: Buffer): string {
  return Buffer.from(bytes.map((byte) => (((byte ^ 0xa5) << 4) | ((byte ^ 0xa5) >> 4)) & 0xff)).toString('utf16le')
}
