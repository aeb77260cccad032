import { existsSync, statSync, writeFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect, vi } from 'vitest'
import { describeDatabase } from '../src/child/describe.ts'
import { type OpenSource, openSource } from '../src/child/open-source.ts'
import { type Snapshot, takeSnapshot } from '../src/child/snapshot.ts'
import { contentOf, integrityOf } from './support/images.ts'
import { type Place, test } from './support/place.ts'
import { markTearer } from './support/torn-mark.ts'

// Here the snapshot is taken in this process, so that a writer can be let in between any two pages. That drops locks
// at the end, when descriptors are closed: nothing is open any more by then.

interface Bench {
  readonly writer: Database.Database
  readonly take: () => Snapshot
}

function bench(place: Place): Bench {
  const writer = new Database(place.file, { timeout: 0 })
  place.atEnd(() => writer.close())
  writer.pragma('journal_mode = wal')
  writer.pragma('wal_autocheckpoint = 0')
  writer.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
  for (let i = 0; i < 200; i++) writer.exec('INSERT INTO t (v) VALUES (randomblob(2000))')
  const take = (): Snapshot => {
    const source = openSource(place.file, 0) as OpenSource & { connection: Database.Database }
    return takeSnapshot(source, source.connection, 0)
  }
  return { writer, take }
}

/** Reads all pages, four at a time; `between` is called after the first ones. */
function read(place: Place, { pageCount, readPages, release }: Snapshot, between: () => void): string {
  const pieces: Buffer[] = []
  for (let page = 1; page <= pageCount; page += 4) {
    pieces.push(readPages(page, Math.min(4, pageCount - page + 1)))
    if (page === 1) between()
  }
  release()
  const image = place.path('image.db')
  writeFileSync(image, Buffer.concat(pieces))
  return image
}

const logState = (writer: Database.Database) =>
  (writer.pragma('wal_checkpoint(NOOP)') as { log: number }[])[0]?.log ?? -1

describe('a snapshot', () => {
  test('of a log that is in the file already: a writer may begin the log anew while it is read', ({ place }) => {
    const { writer, take } = bench(place)
    writer.pragma('wal_checkpoint(FULL)')
    const before = contentOf(place.file)
    const framesBefore = logState(writer)
    const snapshot = take()
    const image = read(place, snapshot, () => {
      writer.exec("UPDATE t SET v = 'overwritten'")
      expect(logState(writer)).toBeLessThan(framesBefore) // it did begin anew
    })
    expect(integrityOf(image)).toBe('ok')
    expect(contentOf(image)).toBe(before)
  })

  test('of a log that is in the file already: a checkpoint may cut it to nothing', ({ place }) => {
    const { writer, take } = bench(place)
    writer.pragma('wal_checkpoint(FULL)')
    const before = contentOf(place.file)
    const image = read(place, take(), () => {
      writer.pragma('wal_checkpoint(TRUNCATE)')
      writer.exec('DELETE FROM t WHERE id % 2')
    })
    expect(contentOf(image)).toBe(before)
  })

  test('of a log with frames: neither commits nor checkpoints change it', ({ place }) => {
    const { writer, take } = bench(place)
    writer.pragma('wal_checkpoint(FULL)')
    writer.exec("UPDATE t SET v = 'in the log' WHERE id < 50")
    const before = contentOf(place.file)
    const image = read(place, take(), () => {
      writer.exec("UPDATE t SET v = 'later'")
      for (const mode of ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE']) writer.pragma(`wal_checkpoint(${mode})`)
      writer.exec('DELETE FROM t')
    })
    expect(contentOf(image)).toBe(before)
  })

  test('of a log whose commit mark a writer is just writing: nothing of it is missed', ({ place }) => {
    const { writer, take } = bench(place)
    writer.pragma('wal_checkpoint(FULL)')
    writer.exec("UPDATE t SET v = 'in the log' WHERE id < 50")
    const before = contentOf(place.file)
    const tearing = markTearer(place, writer)
    tearing.times = 3
    const image = read(place, take(), () => {
      writer.exec("UPDATE t SET v = 'later'")
      writer.pragma('wal_checkpoint(PASSIVE)')
    })
    expect(integrityOf(image)).toBe('ok')
    expect(contentOf(image)).toBe(before)
    expect(tearing.times).toBe(0)
  })

  test('of a log that is begun anew between a look at its mark and one at its header: it looks again', ({ place }) => {
    const { writer, take } = bench(place)
    const update = (from: number, to: number): void => {
      for (let id = from; id <= to; id++) writer.exec(`UPDATE t SET v = 'later' WHERE id = ${id * 10}`)
    }
    writer.pragma('wal_checkpoint(TRUNCATE)')
    update(1, 3)
    writer.pragma('wal_checkpoint(PASSIVE)')
    const framesBefore = logState(writer)
    const statements = Object.getPrototypeOf(writer.prepare('SELECT 1')) as Database.Statement
    const { get } = statements
    const spy = vi.spyOn(statements, 'get').mockImplementation(function (this: Database.Statement, ...values) {
      const result = get.apply(this, values)
      if (!this.source.includes('NOOP')) return result
      spy.mockRestore()
      update(4, 9) // as many frames again as the mark tells, and more
      return result
    })
    place.atEnd(() => spy.mockRestore())
    const image = read(place, take(), () => {})
    expect(logState(writer)).toBe(2 * framesBefore)
    expect(contentOf(image)).toBe(contentOf(place.file))
  })

  test('is let go: the log can be emptied afterwards, and not before', ({ place }) => {
    const { writer, take } = bench(place)
    const snapshot = take()
    writer.exec('DELETE FROM t WHERE id = 1')
    const emptied = (): boolean => (writer.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[])[0]?.busy === 0
    expect(emptied()).toBe(false)
    snapshot.release()
    expect(emptied()).toBe(true)
  })
})

describe('a journal that looks as if a crash had left it, after the database was opened', () => {
  const LOOKS = {
    'while it is described': (source: OpenSource) => describeDatabase(source, 5_000).pageCount,
    'while its image is begun': (source: OpenSource) => {
      const snapshot = takeSnapshot(source, source.connection as Database.Database, 5_000)
      snapshot.release()
      return snapshot.pageCount
    },
  }

  test.for(Object.entries(LOOKS))('%s: it is rolled back', async ([, look], { place }) => {
    const writer = await place.agent()
    await writer.run(({ Database, held }, file) => {
      held.a = new Database(file)
      held.a.exec('CREATE TABLE t (v); INSERT INTO t VALUES (zeroblob(1000000))')
    }, place.file)
    const pages = statSync(place.file).size / 4096
    const source = openSource(place.file, 5_000)
    await writer.run(({ held }) => {
      held.a?.pragma('cache_size = 5')
      held.a?.exec('BEGIN; INSERT INTO t VALUES (zeroblob(1000000))')
    })
    await writer.kill()
    expect(statSync(place.file).size / 4096).toBeGreaterThan(pages)
    expect(look(source)).toBe(pages)
    expect(existsSync(`${place.file}-journal`)).toBe(false)
  })
})
