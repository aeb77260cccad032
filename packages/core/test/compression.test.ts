import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import * as zlib from 'node:zlib'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { patterned } from '../../testing/src/index.ts'
import { compress, compressFrame, FRAME_BYTES, framesIn, freeFrame, type ReadyFrame } from '../src/index.ts'
import { ByteReader } from '../src/pipeline/byte-reader.ts'
import { decode } from '../src/pipeline/decompress.ts'
import { type FrameHeader, framePieces, nextFrame } from '../src/pipeline/zstd-frames.ts'
import { codeOf } from './support/text.ts'

type Algorithm = 'zstd' | 'gzip' | 'none'
const codecs = (algorithm: Algorithm) => (algorithm === 'none' ? [] : [{ name: algorithm, level: 3 }])

/** Cuts `bytes` at the given places, in turn, over and over. */
async function* cut(bytes: Uint8Array, lengths: readonly number[] = [65_536]): AsyncGenerator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length] as number
    yield bytes.subarray(at, at + length)
    at += length
  }
}

/** A decoded piece is gone when the next one is asked for. */
async function* copies(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const piece of pieces) yield Buffer.from(piece)
}

const squeeze = async (plain: Uint8Array, algorithm: Algorithm, lengths?: readonly number[]): Promise<Buffer> =>
  buffer(compress(cut(plain, lengths), { algorithm, level: 3 }))
const expand = (stored: Uint8Array, algorithm: Algorithm, lengths?: readonly number[]): Promise<Buffer> =>
  buffer(copies(decode(cut(stored, lengths), codecs(algorithm))))
const text = (length: number): Buffer =>
  Buffer.from('the quick brown fox jumps over the lazy dog. '.repeat(Math.ceil(length / 45))).subarray(0, length)

const lengths = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 100_000 })), {
  minLength: 1,
  maxLength: 6,
})

describe.each(['zstd', 'gzip', 'none'] as const)('%s', (algorithm) => {
  test('gives back any bytes, however they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 5000 }), lengths, lengths, async (plain, outgoing, incoming) => {
        expect((await expand(await squeeze(plain, algorithm, outgoing), algorithm, incoming)).equals(plain)).toBe(true)
      }),
      { numRuns: 60 },
    )
  })

  test.each([0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 12_345])(
    'gives back %d bytes',
    async (length) => {
      for (const plain of [patterned(length), text(length)]) {
        const stored = await squeeze(plain, algorithm, [70_001])
        for (const pieces of [[stored.length + 1], [65_536], [9973, 200_000]]) {
          expect((await expand(stored, algorithm, pieces)).equals(plain), String(pieces)).toBe(true)
        }
      }
    },
  )
})

describe.each(['zstd', 'gzip'] as const)('damaged %s', (algorithm) => {
  test('cut anywhere is an error, or shorter by whole frames', async () => {
    const frames = await Promise.all([text(300), patterned(150), text(5)].map((plain) => squeeze(plain, algorithm)))
    const stored = Buffer.concat(frames)
    const whole = new Set([0, frames[0]?.length, Buffer.concat(frames.slice(0, 2)).length])
    for (let length = 0; length < stored.length; length++) {
      const code = await codeOf(expand(stored.subarray(0, length), algorithm, [length + 1]))
      // Where a frame ends nobody can tell: there the lengths and hashes of the manifest decide.
      if (!whole.has(length)) expect(code, `${length} bytes`).toBe('MEMBER_DAMAGED')
    }
  })

  test('with any byte changed is an error or the same plain bytes', async () => {
    const plain = Buffer.concat([text(200), patterned(100)])
    const stored = await squeeze(plain, algorithm)
    for (let at = 0; at < stored.length; at++) {
      const changed = Buffer.from(stored)
      changed[at] = (changed[at] as number) ^ 0x10
      const found = await expand(changed, algorithm).catch((error: { code: string }) => error.code)
      // The time and the file system in a gzip header mean nothing for the content.
      if (found !== 'MEMBER_DAMAGED')
        expect(Buffer.isBuffer(found) && (found.equals(plain) || found.length === 0), `byte ${at}`).toBe(true)
    }
  })

  test('garbage is refused', async () => {
    for (const bytes of [Buffer.from('x'), Buffer.from('no frame at all, but some text'), patterned(100_000)]) {
      expect(await codeOf(expand(bytes, algorithm))).toBe('MEMBER_DAMAGED')
    }
  })
})

test('what is decoded can be read a piece at a time, and given up', async () => {
  const stored = await squeeze(patterned(12_000_000), 'zstd')
  let closed = false
  const source = (async function* () {
    try {
      yield* cut(stored)
    } finally {
      closed = true
    }
  })()
  for await (const _ of decode(source, codecs('zstd'))) break
  expect(closed).toBe(true)
})

test('an unknown codec is refused before anything is read', () => {
  for (const name of ['lz4', 'toString', '__proto__', '']) {
    expect(() => decode(cut(Buffer.alloc(1)), [{ name }])).toThrow(expect.objectContaining({ code: 'CODEC_UNKNOWN' }))
  }
})

describe('files of the standard tools', () => {
  const tool = (command: string, args: readonly string[], input: Uint8Array): Buffer => {
    const { stdout, status, error, stderr } = spawnSync(command, args, { input, maxBuffer: 2 ** 28 })
    if (status !== 0) throw error ?? new Error(String(stderr))
    return stdout
  }
  const skippable = (length: number): Buffer => {
    const frame = Buffer.alloc(8 + length, 0x28)
    frame.writeUInt32LE(0x184d2a53, 0)
    frame.writeUInt32LE(length, 4)
    return frame
  }
  const plain = Buffer.concat([text(8_500_000), patterned(500_000)])

  test.each([
    ['one long frame of unknown length', ['-3', '-T1']],
    ['one long frame of a known length', ['-3', `--stream-size=${plain.length}`]],
    ['without a checksum', ['-1', '--no-check']],
    ['with several threads', ['-3', '-T2']],
    ['with a long window', ['-3', '--long=27']],
    ['at a higher level', ['-9', '-T2']],
  ])('zstd %s', async (_how, args) => {
    const stored = tool('zstd', [...args, '-c'], plain)
    for (const pieces of [[stored.length], [65_536], [4099]])
      expect((await expand(stored, 'zstd', pieces)).equals(plain)).toBe(true)
    expect(await codeOf(expand(stored.subarray(0, -1), 'zstd'))).toBe('MEMBER_DAMAGED')
  })

  test('frames of both kinds, one behind the other and between skippable ones', async () => {
    const small = text(3000)
    const ours = await squeeze(small, 'zstd')
    const theirs = tool('zstd', ['-c'], small)
    const stored = Buffer.concat([skippable(0), ours, theirs, skippable(70_000), ours, skippable(3)])
    const expected = Buffer.concat([small, small, small])
    for (const pieces of [[stored.length], [1], [7, 50_000]])
      expect((await expand(stored, 'zstd', pieces)).equals(expected)).toBe(true)
    for (const place of [1, 9, ours.length + 3]) {
      expect(
        (await expand(Buffer.concat([ours, theirs]), 'zstd', [place, 1_000_000])).equals(Buffer.concat([small, small])),
      ).toBe(true)
    }
    for (const length of [3, 7, 10])
      expect(await codeOf(expand(skippable(50).subarray(0, length), 'zstd'))).toBe('MEMBER_DAMAGED')
  })

  test('what we write is read by zstd and gzip', async () => {
    const stored = await squeeze(plain, 'zstd')
    expect(tool('zstd', ['-d', '-c'], stored).equals(plain)).toBe(true)
    expect(tool('zstd', ['-t', '-q'], stored).length).toBe(0)
    expect(tool('gzip', ['-d', '-c'], await squeeze(plain, 'gzip')).equals(plain)).toBe(true)
  })

  test('gzip with several members', async () => {
    const stored = Buffer.concat([zlib.gzipSync('one'), tool('gzip', ['-c'], Buffer.from('two')), zlib.gzipSync('')])
    for (const pieces of [[stored.length], [1], [25]])
      expect(String(await expand(stored, 'gzip', pieces))).toBe('onetwo')
  })
})

test.each([0, 1, 5000, FRAME_BYTES])(
  '%d bytes make exactly one zstd frame, which tells their length',
  async (length) => {
    for (const plain of [randomBytes(length), text(length)]) {
      const frame = await compressFrame(plain, { algorithm: 'zstd', level: 3 })
      const reader = new ByteReader(cut(frame))
      const header = (await nextFrame(reader)) as FrameHeader
      let bytes = 0
      for await (const piece of framePieces(reader, header)) bytes += piece.length
      expect(header).toMatchObject({ plainBytes: length, hasChecksum: true })
      expect(bytes).toBe(frame.length)
    }
  },
)

describe('frames that are ready', () => {
  const pieces = fc.array(fc.record({ length: fc.integer({ min: 0, max: 9_000 }), isReady: fc.boolean() }), {
    maxLength: 12,
  })

  test.each(['zstd', 'gzip', 'none'] as const)(
    'stand where they are among what is compressed: %s',
    async (algorithm) => {
      await fc.assert(
        fc.asyncProperty(pieces, async (made) => {
          const parts = made.map(({ length, isReady }, i) => ({ plain: patterned(length + i), isReady }))
          const plain = Buffer.concat(parts.map((part) => part.plain))
          const ready: Buffer[] = []
          async function* source(): AsyncGenerator<Uint8Array | ReadyFrame> {
            for (const { plain, isReady } of parts) {
              if (!isReady) yield plain
              else {
                const frame = Buffer.from(await compressFrame(plain, { algorithm, level: 1 }))
                ready.push(frame)
                yield { plain, frame }
              }
            }
          }
          const stored = await buffer(compress(source(), { algorithm, level: 3 }))
          expect((await expand(stored, algorithm)).equals(plain)).toBe(true)
          let at = 0
          for (const frame of ready) {
            at = stored.indexOf(frame, at)
            expect(at).toBeGreaterThanOrEqual(0)
            at += frame.length
          }
        }),
        { numRuns: 60 },
      )
    },
  )

  test('are found where they are, also between skippable ones and however they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(200_000), { maxLength: 6 }), lengths, async (sizes, cuts) => {
        const frames = await Promise.all(sizes.map((n) => compressFrame(text(n), { algorithm: 'zstd', level: 3 })))
        const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9])
        const stored = Buffer.concat(frames.flatMap((frame, i) => (i % 2 === 0 ? [frame] : [skippable, frame])))
        const found = []
        for await (const place of framesIn(cut(stored, cuts))) found.push(place)
        expect(found.map(({ plainBytes }) => plainBytes)).toEqual(sizes)
        expect(
          found.every(({ position, storedBytes }, i) =>
            stored.subarray(position, position + storedBytes).equals(frames[i] as Uint8Array),
          ),
        ).toBe(true)
      }),
      { numRuns: 60 },
    )
    await expect(
      (async () => {
        for await (const _ of framesIn(cut((await squeeze(text(300), 'zstd')).subarray(0, -1))));
      })(),
    ).rejects.toMatchObject({ code: 'MEMBER_DAMAGED' })
  })
})

describe('frames that claim absurd sizes', () => {
  afterEach(() => vi.restoreAllMocks())
  const header = (descriptor: number, ...rest: number[]): Buffer =>
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, descriptor, ...rest])
  const emptyBlock = [0x01, 0x00, 0x00]
  test.each([
    ['16 EiB of content', header(0xe0, ...Array<number>(8).fill(0xff), ...emptyBlock)],
    ['4 GiB of content', header(0xa0, 0xff, 0xff, 0xff, 0xff, ...emptyBlock)],
    ['a window of 3.75 TiB', header(0x00, 0xff, ...emptyBlock)],
    ['8 MiB of content, none given', header(0xa0, 0x00, 0x00, 0x80, 0x00, ...emptyBlock)],
    ['255 bytes, none given', header(0x20, 0xff, ...emptyBlock)],
    ['a block longer than any', header(0x20, 0x10, 0xfd, 0xff, 0xff)],
  ])('%s', async (_what, bytes) => {
    // Memory that nobody has written to yet does not show in the size of the process.
    const asked = [vi.spyOn(Buffer, 'alloc'), vi.spyOn(Buffer, 'allocUnsafe'), vi.spyOn(Buffer, 'allocUnsafeSlow')]
    expect(await codeOf(expand(bytes, 'zstd'))).toBe('MEMBER_DAMAGED')
    const sizes = asked.flatMap(({ mock }) => mock.calls.map(([size]) => size))
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(20 * 1024 * 1024)
  })

  test('a small frame that decodes to more than it claims', async () => {
    const honest = zlib.zstdCompressSync(Buffer.alloc(200_000, 1), { pledgedSrcSize: 200_000 } as zlib.ZstdOptions)
    const liar = Buffer.from(honest)
    expect((liar[4] as number) >> 6).toBe(2)
    liar.writeUInt32LE(1000, 4 + 1 + ((liar[4] as number) & 0x20 ? 0 : 1))
    expect(await codeOf(expand(liar, 'zstd'))).toBe('MEMBER_DAMAGED')
  })

  test('ten thousand run-length blocks in a frame that claims little', async () => {
    const blocks = Buffer.concat(
      Array.from({ length: 10_000 }, () => Buffer.from([0x02 | ((0x1ffff << 3) & 0xff), 0xff, 0x0f, 0x61])),
    )
    expect(await codeOf(expand(Buffer.concat([header(0x20, 0xff), blocks]), 'zstd'))).toBe('MEMBER_DAMAGED')
  })
})

describe('the memory of a frame', () => {
  test.each(['zstd', 'gzip'] as const)('of %s is freed', async (algorithm) => {
    const plain = randomBytes(FRAME_BYTES)
    const frame = await compressFrame(plain, { algorithm, level: 1 })
    freeFrame(frame)
    expect(frame.buffer.byteLength).toBe(0)
    expect(plain.buffer.byteLength).toBe(FRAME_BYTES)
  })

  test('is all that compressing takes: nothing waits for V8 beside it', async () => {
    const plain = randomBytes(FRAME_BYTES)
    const before = process.memoryUsage().external
    // So few that V8 does not look for garbage in between.
    for (let round = 0; round < 6; round++) freeFrame(await compressFrame(plain, { algorithm: 'zstd', level: 1 }))
    expect(process.memoryUsage().external - before).toBeLessThan(2 * FRAME_BYTES)
  })

  test('is left alone when it is shared with others', () => {
    const pooled = Buffer.from('small')
    freeFrame(pooled)
    expect(pooled.toString()).toBe('small')
  })
})
