import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import type Database from 'better-sqlite3'
import { vi } from 'vitest'
import type { Place } from './place.ts'

/** The index of a log begins with its header, twice: who finds two that differ waits for the writer. */
const HEADER_BYTES = 48

/**
 * So many of the next times that the commit mark is read, it is half written, as by a writer that the system took the
 * processor from. `writer` is a connection that is in no transaction.
 */
export function markTearer(place: Place, writer: Database.Database): { times: number } {
  // Not closed before the end: that drops the locks that this process has on it.
  const index = openSync(`${place.file}-shm`, 'r+')
  const statements = Object.getPrototypeOf(writer.prepare('SELECT 1')) as Database.Statement
  const get = statements.get
  const left = { times: 0 }
  const spy = vi.spyOn(statements, 'get').mockImplementation(function (this: Database.Statement, ...values) {
    if (!this.source.includes('wal_checkpoint(NOOP)') || left.times === 0) return get.apply(this, values)
    left.times--
    const header = Buffer.alloc(HEADER_BYTES)
    writer.exec('BEGIN IMMEDIATE')
    readSync(index, header, 0, HEADER_BYTES, HEADER_BYTES)
    try {
      writeSync(index, Buffer.from(header).fill(0xff, 8, 12), 0, HEADER_BYTES, HEADER_BYTES)
      return get.apply(this, values)
    } finally {
      writeSync(index, header, 0, HEADER_BYTES, HEADER_BYTES)
      writer.exec('ROLLBACK')
    }
  })
  place.atEnd(() => {
    spy.mockRestore()
    closeSync(index)
  })
  return left
}
