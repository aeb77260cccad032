import { BackupError } from '@taskflow-backup/core'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { ByteSteps } from '../src/mtf/byte-steps.ts'
import { MtfScanner } from '../src/mtf/index.ts'
import { seal } from './support/mtf-fields.ts'
import { headersOf, scanError } from './support/mtf-walk.ts'
import { writeMtf } from './support/mtf-writer.ts'

const FILE = writeMtf(
  {
    database: 'Tasks',
    kind: 'full',
    firstLsn: 1n,
    lastLsn: 2n,
    checkpointLsn: 1n,
    checksum: true,
    build: '10.50.1600',
  },
  { database: 'Tasks', kind: 'log', firstLsn: 1n, lastLsn: 3n, checkpointLsn: 1n },
)
const { blocks, streams } = headersOf(FILE)
const HEADERS = [...blocks, ...streams]
/** Of the shortest headers the file has room for fewer than this. */
const MOST_STEPS = FILE.length
/** 128 KiB of a stream, or a block whose length has 16 bits. */
const MOST_BYTES = 1 << 17
/** Numbers that a reader stumbles over. */
const number = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(
    0n,
    1n,
    21n,
    22n,
    51n,
    52n,
    0xffffn,
    0x7fff_ffffn,
    0xffff_ffffn,
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
  ),
)

describe('a hostile file', () => {
  test('with headers that lie under right checksums ends in a BackupError or a result, in bounded time and memory', () => {
    const lie = fc.record({ header: fc.nat(HEADERS.length - 1), field: fc.nat(5), number })
    fc.assert(
      fc.property(fc.array(lie, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 9_999 }), (lies, piece) => {
        const file = Buffer.from(FILE)
        for (const { header, field, number } of lies) tell(file, header, field, number)
        bounded(() => scanError(file, [piece]))
      }),
      { numRuns: 1_000 },
    )
  })

  test('with bytes of anything anywhere', () => {
    const change = fc.record({ at: fc.nat(FILE.length - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 600 }) })
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 5 }), fc.nat(FILE.length), (changes, length) => {
        const file = Buffer.from(FILE)
        for (const { at, bytes } of changes) file.set(bytes.subarray(0, file.length - at), at)
        bounded(() => scanError(file.subarray(0, length)))
      }),
      { numRuns: 500 },
    )
  })

  test('of anything after either magic', () => {
    fc.assert(
      fc.property(fc.constantFrom('TAPE', 'MSSQLBAK', ''), fc.uint8Array({ maxLength: 5_000 }), (magic, bytes) => {
        expect(scanError(Buffer.concat([Buffer.from(magic), bytes]))).toBeInstanceOf(BackupError)
      }),
      { numRuns: 200 },
    )
  })

  test('whose header lies about texts, dates and sizes in it', () => {
    const change = fc.record({ at: fc.nat(300), bytes: fc.uint8Array({ minLength: 1, maxLength: 12 }) })
    const starts = [...FILE.toString('latin1').matchAll(/SCIN|SSET|TAPE/g)].map(({ index }) => index)
    fc.assert(
      fc.property(fc.constantFrom(...starts), fc.array(change, { minLength: 1, maxLength: 3 }), (start, changes) => {
        const file = Buffer.from(FILE)
        for (const { at, bytes } of changes) file.set(bytes, start + at)
        if (FILE.toString('latin1', start, start + 4) !== 'SCIN') seal(file, start, 25)
        bounded(() => scanError(file))
      }),
      { numRuns: 500 },
    )
  })

  test('with a stream that never ends takes no more memory than a short one', () => {
    const header = streams.find(({ id }) => id === 'MQCI')?.at as number
    const start = Buffer.from(FILE.subarray(0, header + 22 + 400))
    start.writeBigUInt64LE(2n ** 52n, header + 8)
    seal(start, header, 10)
    const scanner = new MtfScanner('endless')
    scanner.update(start)
    const before = process.memoryUsage().arrayBuffers
    const piece = Buffer.alloc(1 << 20)
    for (let count = 0; count < 256; count++) scanner.update(piece)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 << 20)
    expect(() => scanner.end()).toThrow(BackupError)
  })
})

/** Writes `number` into one field of a header, under a right checksum. */
function tell(file: Buffer, header: number, field: number, number: bigint): void {
  const { at, bytes } = HEADERS[header] as (typeof HEADERS)[number]
  const block = bytes === 52
  const low = Number(number & 0xffffn)
  if (field === 0) file.writeUInt16LE(low, at + 8)
  if (field === 1) file.writeBigUInt64LE(number, at + (block ? 12 : 8))
  if (field === 2) file.writeUInt16LE(low, at + 4)
  if (field === 3) file.write(['SSET', 'ESET', 'TAPE', 'SFMB', 'MSLS', 'MSCI', 'ZZZZ'][low % 7] as string, at, 'latin1')
  if (field === 4) file.write(['SPAD', 'MQCI', 'MQDA', 'CSUM', 'RAID'][low % 5] as string, at, 'latin1')
  if (field === 5) file.writeUInt32LE(Number(number & 0xffff_ffffn), at + (block ? 36 : 8))
  seal(file, at, block ? 25 : 10)
}

/** Counts the parser's steps, and ends one that takes too many of them or wants to hold too much. */
function bounded(work: () => unknown): void {
  let steps = 0
  const { take } = ByteSteps.prototype
  const counted = vi.spyOn(ByteSteps.prototype, 'take').mockImplementation(function (this: ByteSteps, bytes, ...rest) {
    if (++steps > MOST_STEPS) throw new RangeError(`more than ${MOST_STEPS} steps`)
    if (bytes > MOST_BYTES) throw new RangeError(`${bytes} bytes at once`)
    take.call(this, bytes, ...rest)
  })
  try {
    work()
  } finally {
    counted.mockRestore()
  }
}
