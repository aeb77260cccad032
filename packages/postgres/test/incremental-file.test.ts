import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { IncrementalFile } from '../src/child/incremental-file.ts'

const BLOCK = 8192
const MAGIC = 0xd3ae1f0d

/** What the server sends for a file of which `changed` blocks are in the backup; a block is all of one byte. */
function incremental(changed: ReadonlyMap<number, number>, truncation: number, magic = MAGIC): Buffer {
  const header = Buffer.alloc(12 + 4 * changed.size)
  header.writeUInt32LE(magic, 0)
  header.writeUInt32LE(changed.size, 4)
  header.writeUInt32LE(truncation, 8)
  const blocks = [...changed].sort(([a], [b]) => a - b)
  for (const [index, [block]] of blocks.entries()) header.writeUInt32LE(block, 12 + 4 * index)
  const padding = changed.size === 0 ? 0 : (BLOCK - (header.length % BLOCK)) % BLOCK
  return Buffer.concat([header, Buffer.alloc(padding), ...blocks.map(([, byte]) => Buffer.alloc(BLOCK, byte))])
}

/** The file after the backup, block by block, as the format is defined. */
function expected(before: readonly number[], changed: ReadonlyMap<number, number>, truncation: number): number[] {
  const length = Math.max(truncation, ...[...changed.keys()].map((block) => block + 1))
  return Array.from({ length }, (_, block) => changed.get(block) ?? (block < truncation ? (before[block] ?? 0) : 0))
}

describe('IncrementalFile', () => {
  let folder: string
  let file: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'taskflow-incremental-'))
    file = join(folder, '16384')
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  async function apply(before: readonly number[], bytes: Buffer, cuts: readonly number[] = []): Promise<number[]> {
    await writeFile(file, Buffer.concat(before.map((byte) => Buffer.alloc(BLOCK, byte))))
    const writer = new IncrementalFile(file, 'INCREMENTAL.16384', bytes.length)
    try {
      const ends = [...new Set([...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
      let at = 0
      for (const end of ends) {
        writer.write(bytes.subarray(at, end))
        at = end
      }
      writer.end()
    } finally {
      writer.close()
    }
    const after = await readFile(file)
    expect(after.length % BLOCK).toBe(0)
    return Array.from({ length: after.length / BLOCK }, (_, block) => {
      const part = after.subarray(block * BLOCK, (block + 1) * BLOCK)
      expect(part.every((byte) => byte === part[0])).toBe(true)
      return part[0] as number
    })
  }

  test('any change of any file, in pieces of any length', async () => {
    const block = fc.integer({ min: 0, max: 9 })
    const byte = fc.integer({ min: 1, max: 255 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(byte, { maxLength: 8 }),
        fc.array(fc.tuple(block, byte), { maxLength: 8 }),
        fc.integer({ min: 0, max: 10 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        async (before, changes, truncation, cuts) => {
          const changed = new Map(changes)
          const after = await apply(before, incremental(changed, truncation), cuts)
          expect(after).toEqual(expected(before, changed, truncation))
        },
      ),
      { numRuns: 150 },
    )
  })

  test.each([
    ['another magic', incremental(new Map([[0, 1]]), 1, 0xd3ae1f0e), 'does not begin'],
    ['more blocks than a segment has', incremental(new Map([[131_072, 1]]), 1), 'block number'],
    ['an absurd truncation length', incremental(new Map(), 131_073), 'impossible'],
    ['a block too few', incremental(new Map([[0, 1]]), 1).subarray(0, 8192), 'do not fit'],
    ['a block too many', Buffer.concat([incremental(new Map(), 1), Buffer.alloc(BLOCK)]), 'do not fit'],
    ['no whole header', incremental(new Map(), 1).subarray(0, 11), 'header'],
  ])('refuses %s', async (_, bytes, why) => {
    await expect(apply([1, 2], bytes)).rejects.toMatchObject({
      code: 'MEMBER_DAMAGED',
      message: expect.stringContaining(why),
    })
  })

  test('refuses to change a file that is not there', async () => {
    await rm(file, { force: true })
    const bytes = incremental(new Map([[0, 1]]), 1)
    const writer = new IncrementalFile(file, 'INCREMENTAL.16384', bytes.length)
    expect(() => writer.write(bytes)).toThrow('the backup before does not have')
  })
})
