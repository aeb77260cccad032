import { randomBytes } from 'node:crypto'

/** Writes, after `words` 16-bit words, their XOR. */
export function seal(bytes: Buffer, offset: number, words: number): void {
  let sum16 = 0
  for (let word = 0; word < words; word++) sum16 ^= bytes.readUInt16LE(offset + 2 * word)
  bytes.writeUInt16LE(sum16, offset + 2 * words)
}

/** Appends texts to `bytes`, which stands `before` bytes after where offsets count from, and tells each at its place. */
export function texts(
  bytes: Buffer,
  before: number,
  list: readonly (readonly [text: string, place: number])[],
): Buffer {
  return list.reduce((whole, [text, place]) => {
    const encoded = Buffer.from(text, 'utf16le')
    whole.writeUInt16LE(encoded.length, place)
    whole.writeUInt16LE(before + whole.length, place + 2)
    return Buffer.concat([whole, encoded])
  }, bytes)
}

export function date(text: string): Buffer {
  const [year, month, day, hour, minute, second] = text.split(/[-T:]/).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  return Buffer.from([
    year >> 6,
    ((year & 63) << 2) | (month >> 2),
    ((month & 3) << 6) | (day << 1) | (hour >> 4),
    ((hour & 15) << 4) | (minute >> 2),
    ((minute & 3) << 6) | second,
  ])
}

export function lsn(value: bigint): Buffer {
  const bytes = Buffer.alloc(10)
  bytes.writeUInt32LE(Number(value / 10n ** 15n), 0)
  bytes.writeUInt32LE(Number((value / 10n ** 5n) % 10n ** 10n), 4)
  bytes.writeUInt16LE(Number(value % 10n ** 5n), 8)
  return bytes
}

/** A GUID as it stands in a file. */
export function guid(text: string | undefined): Buffer {
  if (text === undefined) return randomBytes(16)
  const raw = Buffer.from(text.replaceAll('-', ''), 'hex')
  raw.subarray(0, 4).reverse()
  raw.subarray(4, 6).reverse()
  raw.subarray(6, 8).reverse()
  return raw
}
