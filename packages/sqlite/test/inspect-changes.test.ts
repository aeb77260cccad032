import { Readable } from 'node:stream'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodePageHashesHeader } from '../src/changes/format.ts'
import { hashPage, PageTable } from '../src/changes/page-table.ts'
import { inspectMember } from '../src/inspect.ts'
import { encodeChanges, imageOf, PAGE_SIZE, playHistory } from './support/history.ts'

const { steps } = playHistory([
  {
    waitMs: 100,
    how: 'log',
    commits: [
      {
        pageCount: 9,
        pages: [
          [1, 2],
          [9, 3],
        ],
      },
    ],
  },
  { waitMs: 100, how: 'log', commits: [] },
  { waitMs: 100, how: 'log', commits: [{ pageCount: 4, pages: [[2, 2]] }] },
])

function makePageHashes(): Buffer {
  const table = new PageTable(PAGE_SIZE, 5_000)
  for (let page = 1; page <= 5_000; page += 7) table.set(page, hashPage(imageOf(2, page)))
  const { pageSize, pageCount, state } = table
  return Buffer.concat([encodePageHashesHeader({ pageSize, pageCount, state }), table.bytes])
}

const MEMBERS = {
  'tasks.changes': { plain: encodeChanges(steps), message: 'tasks.changes has 3 steps with 3 pages of 512 bytes.' },
  'tasks.pagehashes': {
    plain: makePageHashes(),
    message: 'tasks.pagehashes has the hashes of 5000 pages of 512 bytes.',
  },
}

async function inspect(name: string, plain: Buffer, plainBytes = plain.length, piece = 4096) {
  const pieces = Array.from({ length: Math.ceil(plain.length / piece) }, (_, i) =>
    plain.subarray(i * piece, (i + 1) * piece),
  )
  const [finding, ...more] = await inspectMember({
    name,
    body: Readable.from(pieces, { objectMode: false }),
    plainBytes,
  })
  expect(more).toEqual([])
  return finding
}

describe.each(Object.entries(MEMBERS))('%s', (name, { plain, message }) => {
  test.each([1_000_000, 4096, 100, 1])('is whole, in pieces of %i bytes', async (piece) => {
    if (piece === 1) expect(plain.length).toBeGreaterThan(1) // each byte by itself
    expect((await inspect(name, plain, plain.length, piece))?.message).toBe(message)
  })

  test('any flipped bit is found', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(plain.length * 8 - 1), async (bit) => {
        const damaged = Buffer.from(plain)
        damaged[bit >>> 3] = (damaged[bit >>> 3] as number) ^ (1 << (bit & 7))
        expect(await inspect(name, damaged)).toMatchObject({
          severity: 'error',
          message: expect.stringMatching(`^${name}: `),
        })
      }),
      { numRuns: 300 },
    )
  })

  test('any cut is found, and what is too much', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(plain.length - 1), fc.boolean(), async (length, isTold) => {
        const cut = plain.subarray(0, length)
        expect(await inspect(name, cut, isTold ? length : plain.length)).toMatchObject({ severity: 'error' })
      }),
      { numRuns: 100 },
    )
    const longer = Buffer.concat([plain, Buffer.alloc(1)])
    expect(await inspect(name, longer)).toMatchObject({ severity: 'error' })
    expect(await inspect(name, longer, plain.length)).toMatchObject({ severity: 'error' })
  })

  test('what its storage fails with is not about its format', async () => {
    const failing = Readable.from(
      (async function* () {
        yield plain.subarray(0, 30)
        throw new Error('the disk is gone')
      })(),
    )
    await expect(inspectMember({ name, body: failing, plainBytes: plain.length })).rejects.toThrow('the disk is gone')
    expect(failing.destroyed).toBe(true)
  })
})
