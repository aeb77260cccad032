import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CopySplitter } from '../src/replication/copy-splitter.ts'

interface Message {
  readonly code: number
  readonly payload: Uint8Array
}

const COPY_DATA = 0x64

function encode({ code, payload }: Message): Buffer {
  const header = Buffer.alloc(5)
  header[0] = code
  header.writeUInt32BE(payload.length + 4, 1)
  return Buffer.concat([header, payload])
}

/** Cuts `bytes` at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end))
}

/** What a splitter makes of chunks, put together again; checks the marks of first and last pieces. */
function split(chunks: readonly Buffer[]): Message[] {
  const found: Message[] = []
  let pieces: Buffer[] | undefined
  const splitter = new CopySplitter({
    onCopyData(piece, first, last) {
      expect(first).toBe(pieces === undefined)
      pieces ??= []
      pieces.push(Buffer.from(piece))
      if (!last) return
      found.push({ code: COPY_DATA, payload: Buffer.concat(pieces) })
      pieces = undefined
    },
    onMessage(message) {
      expect(pieces).toBeUndefined()
      expect(message.readUInt32BE(1)).toBe(message.length - 1)
      found.push({ code: message[0] as number, payload: Buffer.from(message.subarray(5)) })
    },
  })
  for (const chunk of chunks) {
    const handed = Buffer.from(chunk)
    splitter.feed(handed)
    handed.fill(0xee) // the socket's buffer is used again
  }
  expect(pieces).toBeUndefined()
  return found
}

const asHex = (messages: readonly Message[]): string[] =>
  messages.map(({ code, payload }) => `${code}:${Buffer.from(payload).toString('hex')}`)

const someMessages = fc.array(
  fc.record({
    code: fc.constantFrom(COPY_DATA, COPY_DATA, 0x43, 0x5a, 0x45),
    payload: fc.uint8Array({ maxLength: 40 }),
  }),
  { maxLength: 12 },
)

describe('CopySplitter', () => {
  test('gives the same messages for every chunking', () => {
    fc.assert(
      fc.property(someMessages, fc.array(fc.nat(), { maxLength: 30 }), (messages, places) => {
        const bytes = Buffer.concat(messages.map(encode))
        expect(asHex(split(cut(bytes, places)))).toEqual(asHex(messages))
      }),
      { numRuns: 500 },
    )
  })

  test('gives the same messages for chunks of every one size, from a single byte on', () => {
    const messages = [0, 1, 5, 300, 0, 0, 7].flatMap((length, index) => [
      { code: COPY_DATA, payload: Buffer.alloc(length, index) },
      { code: 0x5a, payload: Buffer.alloc(index, 0x49) },
    ])
    const bytes = Buffer.concat(messages.map(encode))
    for (let size = 1; size <= bytes.length; size++) {
      const places = Array.from({ length: Math.floor(bytes.length / size) }, (_, index) => (index + 1) * size)
      expect(asHex(split(cut(bytes, places)))).toEqual(asHex(messages))
    }
  })

  test('tells an empty message although nothing follows on its header', () => {
    const messages = [{ code: COPY_DATA, payload: Buffer.alloc(0) }]
    expect(asHex(split([encode(messages[0] as Message)]))).toEqual(asHex(messages))
  })

  test('hands on data before their message is whole', () => {
    const seen: string[] = []
    const splitter = new CopySplitter({
      onCopyData: (piece, first, last) => seen.push(`${piece.length} ${first} ${last}`),
      onMessage: () => seen.push('message'),
    })
    const bytes = encode({ code: COPY_DATA, payload: Buffer.alloc(100) })
    splitter.feed(bytes.subarray(0, 5))
    expect(seen).toEqual([])
    splitter.feed(bytes.subarray(5, 65))
    splitter.feed(bytes.subarray(65))
    expect(seen).toEqual(['60 true false', '40 false true'])
  })

  test.for([0, 3, 0x40000000, 0xffffffff])('refuses a message that says it has %i bytes', (length) => {
    const header = Buffer.alloc(5, COPY_DATA)
    header.writeUInt32BE(length, 1)
    const splitter = new CopySplitter({ onCopyData: () => {}, onMessage: () => {} })
    expect(() => splitter.feed(header)).toThrow(expect.objectContaining({ code: 'SERVER_FAILED' }))
  })
})
