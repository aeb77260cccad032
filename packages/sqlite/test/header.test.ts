import { readFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { parseHeader } from '../src/child/header.ts'
import { type Place, test } from './support/place.ts'

function headerOf(place: Place, pageSize: number, journalMode: string): Buffer {
  const database = new Database(place.file)
  database.pragma(`page_size = ${pageSize}`)
  database.pragma(`journal_mode = ${journalMode}`)
  database.exec('CREATE TABLE t (v); INSERT INTO t VALUES (1)')
  database.close()
  return readFileSync(place.file).subarray(0, 100)
}

function withNumber(header: Buffer, at: number, bytes: 1 | 2 | 4, value: number): Buffer {
  const changed = Buffer.from(header)
  changed.writeUIntBE(value, at, bytes)
  return changed
}

describe('parseHeader', () => {
  test.for([512, 4096, 32_768, 65_536])('reads what SQLite wrote with pages of %i bytes', (pageSize, { place }) => {
    const header = headerOf(place, pageSize, 'wal')
    expect(parseHeader(header)).toEqual({ pageSize, pageCount: 2, changeCounter: expect.any(Number), wal: true })
  })

  test('tells a rollback journal from a log', ({ place }) => {
    expect(parseHeader(headerOf(place, 4096, 'delete'))).toMatchObject({ wal: false, pageCount: 2 })
  })

  test('does not trust the page count of a version of SQLite that did not keep it', ({ place }) => {
    const header = headerOf(place, 4096, 'delete')
    expect(parseHeader(withNumber(header, 92, 4, 4711))).toMatchObject({ pageCount: undefined })
    expect(parseHeader(withNumber(header, 28, 4, 0))).toMatchObject({ pageCount: undefined })
  })

  test('says what is wrong', ({ place }) => {
    const header = headerOf(place, 4096, 'delete')
    expect(parseHeader(header.subarray(0, 99))).toContain('99 bytes')
    expect(parseHeader(Buffer.alloc(100))).toContain('does not begin with')
    for (const size of [0, 2, 256, 511, 513, 4095])
      expect(parseHeader(withNumber(header, 16, 2, size))).toContain(`page size: ${size}`)
    for (const format of [0, 3, 255]) {
      expect(parseHeader(withNumber(header, 18, 1, format))).toContain('unknown format')
      expect(parseHeader(withNumber(header, 19, 1, format))).toContain('unknown format')
    }
    expect(parseHeader(withNumber(header, 56, 4, 4))).toContain('text encoding: 4')
  })
})
