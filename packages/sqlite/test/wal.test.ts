import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { framesFor, indexWal, isWalHeader, readAt, WAL_HEADER_BYTES } from '../src/child/wal.ts'
import { randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'

// The log as the format's description says it, written down a second time.

interface Frame {
  readonly page: number
  /** Pages after the commit; 0 inside a transaction. */
  readonly commit: number
}

function writeLog(
  file: string,
  frames: readonly Frame[],
  { pageSize = 512, bigEndian = false, salt = 7, salts = [] as number[] } = {},
) {
  const header = Buffer.alloc(WAL_HEADER_BYTES)
  const fields = [0x377f0682 + (bigEndian ? 1 : 0), 3_007_000, pageSize, 3, salt, salt + 1]
  for (const [index, value] of fields.entries()) header.writeUInt32BE(value, index * 4)
  let [a, b] = [0, 0]
  for (let at = 0; at < 24; at += 4) {
    const word = bigEndian ? header.readUInt32BE(at) : header.readUInt32LE(at)
    if (at % 8 === 0) a = (a + word + b) % 2 ** 32
    else b = (b + word + a) % 2 ** 32
  }
  header.writeUInt32BE(a, 24)
  header.writeUInt32BE(b, 28)
  const written = frames.map(({ page, commit }, index) => {
    const frame = Buffer.alloc(24 + pageSize)
    frame.writeUInt32BE(page, 0)
    frame.writeUInt32BE(commit, 4)
    frame.writeUInt32BE(salts[index] ?? salt, 8)
    frame.writeUInt32BE(salt + 1, 12)
    return frame
  })
  writeFileSync(file, Buffer.concat([header, ...written]))
  return header
}

function withLog<T>(place: Place, use: (fd: number, header: Buffer) => T): T {
  const fd = openSync(place.path('log'), 'r')
  try {
    return use(fd, readAt(fd, WAL_HEADER_BYTES, 0))
  } finally {
    closeSync(fd)
  }
}

describe('isWalHeader', () => {
  test.for([false, true])(
    'knows both byte orders (big endian: %s), and sees every flipped bit',
    (bigEndian, { place }) => {
      const header = writeLog(place.path('log'), [], { bigEndian })
      expect(isWalHeader(header)).toBe(true)
      for (let bit = 0; bit < header.length * 8; bit++) {
        const damaged = Buffer.from(header)
        damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
        expect({ bit, isWalHeader: isWalHeader(damaged) }).toEqual({ bit, isWalHeader: false })
      }
      expect(isWalHeader(header.subarray(0, 31))).toBe(false)
      expect(isWalHeader(Buffer.alloc(32))).toBe(false)
    },
  )

  test('knows the header that SQLite writes', ({ place }) => {
    const database = new Database(place.file)
    database.pragma('journal_mode = wal')
    database.exec('CREATE TABLE t (v)')
    const log = readFileSync(`${place.file}-wal`) // the log itself carries no locks
    database.close()
    expect(isWalHeader(log)).toBe(true)
  })
})

describe('indexWal', () => {
  test('finds the newest frame of every page that the last commit still has, for any log', ({ place }) => {
    for (let seed = 1; seed <= 150; seed++) {
      const random = randomFrom(seed)
      const frames: Frame[] = Array.from({ length: 1 + Math.floor(random() * 60) }, () => ({
        page: 1 + Math.floor(random() * 40),
        commit: random() < 0.3 ? 10 + Math.floor(random() * 31) : 0,
      }))
      const last = frames.findLastIndex(({ commit }) => commit > 0) + 1
      const pageSize = 512 << Math.floor(random() * 3)
      writeLog(place.path('log'), frames, { pageSize })
      const index = withLog(place, (fd, header) => indexWal(fd, header, last, pageSize))
      if (last === 0) continue
      const pageCount = frames[last - 1]?.commit as number
      const newest = new Map(frames.slice(0, last).map(({ page }, at) => [page, at + 1]))
      const expected = [...newest].filter(([page]) => page <= pageCount).sort(([a], [b]) => a - b)
      expect(index?.pageCount).toBe(pageCount)
      expect([...(index?.pages ?? [])].map((page, at) => [page, index?.frames[at]])).toEqual(expected)
      for (let first = 1; first <= pageCount; first += 7) {
        const found = index && framesFor(index, first, 7)
        const wanted = expected.filter(([page]) => page >= first && page < first + 7)
        expect(found).toEqual(wanted.map(([page, frame]) => ({ page, frame })))
      }
    }
  })

  test('reads a log of more frames than it takes at once', ({ place }) => {
    const frames = Array.from({ length: 20_000 }, (_, at) => ({
      page: 1 + (at % 15_000),
      commit: at === 19_999 ? 15_000 : 0,
    }))
    writeLog(place.path('log'), frames)
    const index = withLog(place, (fd, header) => indexWal(fd, header, 20_000, 512))
    expect(index?.pages.length).toBe(15_000)
    expect([...(index?.frames ?? [])].slice(0, 2)).toEqual([15_001, 15_002])
    expect(index?.frames.at(-1)).toBe(15_000)
  })

  test('gives nothing for a log that has moved on', ({ place }) => {
    const frames = [
      { page: 1, commit: 0 },
      { page: 2, commit: 2 },
      { page: 3, commit: 0 },
    ]
    const index = (options: Parameters<typeof writeLog>[2], last: number) => {
      writeLog(place.path('log'), frames, options)
      return withLog(place, (fd, header) => indexWal(fd, header, last, 512))
    }
    expect(index({}, 2)?.pageCount).toBe(2)
    expect(index({ salts: [7, 8, 7] }, 2)).toBeUndefined() // a frame of another generation
    expect(index({}, 3)).toBeUndefined() // does not end with a commit
    expect(index({}, 4)).toBeUndefined() // is shorter
  })

  test('of a log that SQLite wrote, gives the pages that SQLite reads', ({ place }) => {
    const database = new Database(place.file)
    database.pragma('page_size = 1024')
    database.pragma('journal_mode = wal')
    database.pragma('wal_autocheckpoint = 0')
    database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
    for (let i = 0; i < 200; i++)
      database.exec('INSERT INTO t (v) VALUES (randomblob(900)); UPDATE t SET v = zeroblob(5) WHERE id % 9 = 1')
    const [{ log }] = database.pragma('wal_checkpoint(NOOP)') as [{ log: number }]
    const bytes = readFileSync(`${place.file}-wal`)
    writeFileSync(place.path('log'), bytes)
    const index = withLog(place, (fd, header) => indexWal(fd, header, log, 1024))
    expect(index?.pageCount).toBe(database.pragma('page_count', { simple: true }))
    database.pragma('wal_checkpoint(FULL)')
    database.close()
    const main = readFileSync(place.file)
    for (const [at, page] of [...(index?.pages ?? [])].entries()) {
      const frame = index?.frames[at] as number
      const from = WAL_HEADER_BYTES + (frame - 1) * (24 + 1024) + 24
      expect(bytes.subarray(from, from + 1024).equals(main.subarray((page - 1) * 1024, page * 1024))).toBe(true)
    }
  })
})
