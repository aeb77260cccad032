import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { inspectMember } from '../src/inspect.ts'
import { randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'

function makeImage(place: Place, pageSize = 1024): Buffer {
  const database = new Database(place.file)
  database.pragma(`page_size = ${pageSize}`)
  database.exec('CREATE TABLE t (v); INSERT INTO t VALUES (randomblob(9000))')
  database.close()
  return readFileSync(place.file)
}

/** Cuts `bytes` into pieces of up to `piece` bytes, as a storage may. */
function inPieces(bytes: Buffer, piece: number): Readable {
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length; at += piece) pieces.push(bytes.subarray(at, at + piece))
  return Readable.from(pieces, { objectMode: false })
}

async function inspect(bytes: Buffer, plainBytes = bytes.length, piece = 4096) {
  const findings = await inspectMember({ name: 'tasks.db', body: inPieces(bytes, piece), plainBytes })
  expect(findings).toHaveLength(1)
  return findings[0] as (typeof findings)[number]
}

describe('inspect', () => {
  test.for([1, 7, 99, 100, 101, 1024, 1_000_000])(
    'takes a whole image in pieces of %i bytes',
    async (piece, { place }) => {
      const image = makeImage(place)
      const pages = image.length / 1024
      expect(await inspect(image, image.length, piece)).toEqual({
        check: 'sqlite-format',
        severity: 'ok',
        message: `tasks.db is a SQLite database of ${pages} pages of 1024 bytes.`,
      })
    },
  )

  test('refuses any flipped bit of what makes a header', async ({ place }) => {
    const image = makeImage(place)
    // Magic, page size, formats, page count, and the kind of the first page. The rest is the database's own affair.
    const fields = [...Array(20).keys(), 28, 29, 30, 31, 100]
    for (const at of fields) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = Buffer.from(image)
        damaged[at] = (damaged[at] as number) ^ (1 << bit)
        const { severity } = await inspect(damaged)
        // Byte 18 and 19 are 1 or 2, and both are formats; 0x05 and 0x0d are both kinds of a first page.
        const stillRight = ([18, 19].includes(at) && damaged[at] === 2) || (at === 100 && damaged[at] === 0x05)
        expect({ at, bit, severity }).toEqual({ at, bit, severity: stillRight ? 'ok' : 'error' })
      }
    }
  })

  test('refuses a wrong length', async ({ place }) => {
    const image = makeImage(place)
    const { message } = await inspect(image.subarray(0, image.length - 1024), image.length)
    expect(message).toContain(`has ${image.length - 1024} bytes instead of ${image.length}`)
    expect((await inspect(image.subarray(0, image.length - 1))).message).toContain('not a whole number of pages')
    expect((await inspect(image.subarray(0, image.length - 1024))).message).toContain('its header tells')
    expect((await inspect(Buffer.concat([image, Buffer.alloc(1024)]))).severity).toBe('error')
    expect((await inspect(Buffer.alloc(0))).severity).toBe('error')
    expect((await inspect(image.subarray(0, 100))).severity).toBe('error')
  })

  test('refuses noise', async () => {
    const random = randomFrom(42)
    for (let i = 0; i < 50; i++) {
      const noise = Buffer.from(Array.from({ length: Math.floor(random() * 5_000) }, () => Math.floor(random() * 256)))
      expect((await inspect(noise)).severity).toBe('error')
    }
  })

  test('passes on a failure of the stream', async ({ place }) => {
    const image = makeImage(place)
    const body = Readable.from(
      (async function* () {
        yield image.subarray(0, 2048)
        throw new Error('the destination broke')
      })(),
      { objectMode: false },
    )
    await expect(inspectMember({ name: 'tasks.db', body, plainBytes: image.length })).rejects.toThrow(
      'the destination broke',
    )
  })
})
