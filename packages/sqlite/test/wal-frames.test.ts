import { closeSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import type { LogMark } from '../src/changes/format.ts'
import { isWalHeader, readAt, WAL_HEADER_BYTES } from '../src/child/wal.ts'
import { beginOf, carries, type VerifiedFrames, verifyFrames } from '../src/child/wal-frames.ts'
import { createLedger, LedgerWriter, randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'

/** A log as SQLite wrote it, with the main file of after its last commit. */
interface RealLog {
  readonly path: string
  readonly bytes: Buffer
  readonly frames: number
  readonly frameBytes: number
  readonly pageSize: number
  readonly main: Buffer
  /** What the main file was before the log's first frame. */
  readonly before: Buffer
}

function realLog(place: Place, { pageSize = 512, transactions = 12, spill = 0.3, seed = 1 } = {}): RealLog {
  createLedger(place.file, { pageSize, autoVacuum: 1 })
  const writer = new LedgerWriter(place.file, 1, randomFrom(seed))
  writer.database.pragma('wal_checkpoint(TRUNCATE)')
  writer.database.pragma('wal_autocheckpoint = 0')
  const before = readFileSync(place.file)
  const random = randomFrom(seed + 100)
  for (let i = 0; i < transactions; i++) writer.add(random() < spill)
  writer.database.exec('VACUUM')
  writer.database.exec('DELETE FROM junk')
  const [state] = writer.database.pragma('wal_checkpoint(NOOP)') as [{ log: number }]
  const bytes = readFileSync(`${place.file}-wal`)
  const path = place.path('log')
  writeFileSync(path, bytes)
  writer.database.pragma('wal_checkpoint(TRUNCATE)')
  writer.database.close()
  const frameBytes = 24 + pageSize
  return { path, bytes, frames: state.log, frameBytes, pageSize, main: readFileSync(place.file), before }
}

/** What was verified, with a copy of all pages. */
interface Found extends Pick<VerifiedFrames, 'mark' | 'commits'> {
  readonly changes: readonly { readonly pageCount: number; readonly pages: ReadonlyMap<number, Buffer> }[]
}

function verify({ path, frames, pageSize }: RealLog, from?: LogMark, lastFrame = frames): Found | string {
  const fd = openSync(path, 'r')
  try {
    const header = readAt(fd, WAL_HEADER_BYTES, 0)
    if (!isWalHeader(header)) return 'no header'
    const verified = verifyFrames(fd, header, from ?? beginOf(header), lastFrame, pageSize)
    return typeof verified === 'string' ? verified : take(verified)
  } finally {
    closeSync(fd)
  }
}

function take({ mark, commits, visit }: VerifiedFrames): Found {
  const changes: Found['changes'][number][] = []
  let pages = new Map<number, Buffer>()
  let pageCount = 0
  visit({
    begin: (count) => {
      pageCount = count
      pages = new Map()
    },
    page: (page, image) => {
      expect(pages.has(page)).toBe(false)
      expect(page).toBeLessThanOrEqual(pageCount)
      pages.set(page, Buffer.from(image))
    },
    end: () => void changes.push({ pageCount, pages }),
  })
  expect(changes.length).toBe(commits)
  return { mark, commits, changes }
}

function valid(found: Found | string): Found {
  if (typeof found === 'string') throw new Error(found)
  return found
}

/** Lays what was committed over `image`. */
function apply({ changes }: Found, image: Buffer, pageSize: number): Buffer {
  let result = image
  for (const { pageCount, pages } of changes) {
    const next = Buffer.alloc(pageCount * pageSize)
    result.copy(next)
    for (const [page, bytes] of pages) bytes.copy(next, (page - 1) * pageSize)
    result = next
  }
  return result
}

/** The same log in the other byte order, with its checksums worked out anew, as the format's description says. */
function swapOrder({ bytes, frameBytes }: RealLog): Buffer {
  const swapped = Buffer.from(bytes)
  const big = swapped.readUInt32BE(0) === 0x377f0682
  swapped.writeUInt32BE(big ? 0x377f0683 : 0x377f0682, 0)
  let [a, b] = [0, 0]
  const sum = (from: number, to: number): void => {
    for (let at = from; at < to; at += 8) {
      const word = (position: number): number => (big ? swapped.readUInt32BE(position) : swapped.readUInt32LE(position))
      a = (a + word(at) + b) % 2 ** 32
      b = (b + word(at + 4) + a) % 2 ** 32
    }
  }
  const write = (at: number): void => {
    swapped.writeUInt32BE(a, at)
    swapped.writeUInt32BE(b, at + 4)
  }
  sum(0, 24)
  write(24)
  for (let at = WAL_HEADER_BYTES; at < swapped.length; at += frameBytes) {
    sum(at, at + 8)
    sum(at + 24, at + frameBytes)
    write(at + 16)
  }
  return swapped
}

describe('verifyFrames', () => {
  test.for([512, 1024, 4096, 65_536])('gives all that was committed, pages of %i bytes', (pageSize, { place }) => {
    const log = realLog(place, { pageSize })
    const found = valid(verify(log))
    expect(found.commits).toBeGreaterThan(5)
    expect(found.mark.frame).toBe(log.frames)
    expect(apply(found, log.before, pageSize).equals(log.main)).toBe(true)
  })

  test('goes on from every commit, and from nowhere else', ({ place }) => {
    const log = realLog(place)
    const fd = openSync(log.path, 'r')
    const header = readAt(fd, WAL_HEADER_BYTES, 0)
    let image = log.before
    let mark = beginOf(header)
    for (let frame = 1; frame <= log.frames; frame++) {
      const at = WAL_HEADER_BYTES + (frame - 1) * log.frameBytes
      if (log.bytes.readUInt32BE(at + 4) === 0) {
        expect(verify(log, mark, frame)).toMatch('inside a transaction')
        continue
      }
      const found = valid(verify(log, mark, frame))
      expect(found.commits).toBe(1)
      image = apply(found, image, log.pageSize)
      expect(carries(fd, found.mark, log.pageSize)).toBe(true)
      for (const other of [
        { ...found.mark, checksum: '0123456789abcdef' },
        { ...found.mark, salts: '0123456789abcdef' },
        { ...found.mark, frame: frame - 1 },
      ]) {
        expect(carries(fd, other, log.pageSize)).toBe(false)
      }
      if (frame < log.frames) expect(verify(log, { ...found.mark, frame: frame - 1 })).toMatch('does not go on')
      mark = found.mark
    }
    closeSync(fd)
    expect(image.equals(log.main)).toBe(true)
  })

  test('sees every truncation', ({ place }) => {
    const log = realLog(place, { transactions: 2, spill: 0 })
    const end = WAL_HEADER_BYTES + log.frames * log.frameBytes
    for (let length = end - 1; length >= WAL_HEADER_BYTES; length -= length > end - 600 ? 1 : 97) {
      truncateSync(log.path, length)
      expect(verify(log)).toMatch('shorter')
    }
  })

  test('sees every flipped bit that it covers', ({ place }) => {
    const log = realLog(place, { transactions: 3 })
    const random = randomFrom(7)
    const end = WAL_HEADER_BYTES + log.frames * log.frameBytes
    for (let i = 0; i < 600; i++) {
      const bit = Math.floor(random() * end * 8)
      const damaged = Buffer.from(log.bytes)
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
      writeFileSync(log.path, damaged)
      expect({ bit, found: typeof verify(log) }).toEqual({ bit, found: 'string' })
    }
  })

  test('gives each page once that a transaction wrote again, and none that it cut off', ({ place }) => {
    const log = realLog(place)
    const counts = Array.from({ length: log.frames }, (_, i) => WAL_HEADER_BYTES + i * log.frameBytes + 4)
    const pageCount = log.main.length / log.pageSize - 3
    for (const at of counts) log.bytes.writeUInt32BE(at === counts.at(-1) ? pageCount : 0, at) // one transaction
    writeFileSync(log.path, swapOrder({ ...log, bytes: swapOrder(log) }))
    const found = valid(verify(log))
    expect(found.commits).toBe(1)
    const wanted = log.main.subarray(0, pageCount * log.pageSize)
    expect(apply(found, log.before, log.pageSize).equals(wanted)).toBe(true)
  })

  test('reads a log of the other byte order', ({ place }) => {
    const log = realLog(place)
    writeFileSync(log.path, swapOrder(log))
    expect(apply(valid(verify(log)), log.before, log.pageSize).equals(log.main)).toBe(true)
  })

  test('reads more than it keeps', ({ place }) => {
    const database = new Database(place.file)
    database.pragma('journal_mode = wal')
    database.pragma('wal_autocheckpoint = 0')
    database.exec('CREATE TABLE t (v)')
    database.pragma('wal_checkpoint(TRUNCATE)')
    const before = readFileSync(place.file)
    for (let i = 0; i < 5; i++) database.exec('INSERT INTO t VALUES (randomblob(15000000))')
    const [state] = database.pragma('wal_checkpoint(NOOP)') as [{ log: number }]
    const fd = openSync(`${place.file}-wal`, 'r')
    const header = readAt(fd, WAL_HEADER_BYTES, 0)
    const verified = verifyFrames(fd, header, beginOf(header), state.log, 4096)
    if (typeof verified === 'string') throw new Error(verified)
    const found = take(verified)
    const image = apply(found, before, 4096)
    closeSync(fd)
    database.pragma('wal_checkpoint(TRUNCATE)')
    expect(found.commits).toBe(5)
    database.close()
    expect(image.equals(readFileSync(place.file))).toBe(true)
  })
})
