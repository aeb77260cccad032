import { writeFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { PageTable } from '../src/changes/page-table.ts'
import { ChangeStore } from '../src/child/change-store.ts'
import { compareDatabase } from '../src/child/compare.ts'
import { type OpenSource, openSource } from '../src/child/open-source.ts'
import { type Snapshot, takeSnapshot } from '../src/child/snapshot.ts'
import { applyChanges, decodeChangesFile, step, tableOf } from './support/changes.ts'
import { randomFrom } from './support/ledger.ts'
import { type Place, test } from './support/place.ts'

const NONE = { algorithm: 'none', level: 0 } as const
const SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]

/** Compares, holds what was found against a comparison of bytes, and gives the new image. */
async function compared(place: Place, snapshot: Snapshot, before: Buffer, table: PageTable): Promise<Buffer> {
  const { pageSize, pageCount } = snapshot
  const now = Buffer.concat(
    Array.from({ length: pageCount }, (_, page) => snapshot.readPages(page + 1, 1)),
    pageCount * pageSize,
  )
  const store = new ChangeStore(pageSize, place.temporary)
  const { pages } = compareDatabase(snapshot, table, store)
  store.endStep(step())
  const file = place.path(`${Math.random()}.changes`)
  const { index } = await store.write(file, NONE)
  store.clear()
  const old = Buffer.alloc(now.length)
  before.copy(old)
  const differing: number[] = []
  for (let page = 1; page <= pageCount; page++) {
    const [from, to] = [(page - 1) * pageSize, page * pageSize]
    if (!now.subarray(from, to).equals(old.subarray(from, to))) differing.push(page)
  }
  expect([...index.pages]).toEqual(differing)
  expect(pages).toBe(differing.length)
  expect(table.state).toBe(tableOf(now, pageSize).state)
  expect(applyChanges(before, await decodeChangesFile(file)).equals(now)).toBe(true)
  return now
}

function snapshotOf(image: Buffer, pageSize: number): Snapshot {
  const readPages = (first: number, count: number): Buffer =>
    Buffer.from(image.subarray((first - 1) * pageSize, (first - 1 + count) * pageSize))
  return { pageSize, pageCount: image.length / pageSize, readPages } as Snapshot
}

describe('comparing pages', () => {
  test('of random images that change, grow and shrink finds what a comparison of bytes finds', async ({ place }) => {
    const random = randomFrom(7)
    const below = (number: number): number => Math.floor(random() * number)
    for (let round = 0; round < 60; round++) {
      const pageSize = SIZES[round % SIZES.length] as number
      const image = (pages: number): Buffer => {
        const bytes = Buffer.alloc(pages * pageSize)
        for (let page = 0; page < pages; page++) if (below(4)) bytes.writeUInt32LE(below(2 ** 32), page * pageSize)
        return bytes
      }
      const before = image(below(200))
      const now = Buffer.concat([before.subarray(0, below(before.length / pageSize + 1) * pageSize), image(below(50))])
      for (let change = below(20); change > 0 && now.length > 0; change--) now[below(now.length)] = below(256)
      await compared(place, snapshotOf(now, pageSize), before, tableOf(before, pageSize))
    }
  })

  test('of an image that has nothing but fewer pages, or more of zeros, finds that', async ({ place }) => {
    const before = Buffer.alloc(5 * 512, 7)
    for (const now of [before.subarray(0, 3 * 512), Buffer.concat([before, Buffer.alloc(2 * 512)])])
      await compared(place, snapshotOf(now, 512), before, tableOf(before, 512))
  })

  test.for(SIZES.flatMap((size) => [0, 2].map((vacuum) => [size, vacuum] as const)))(
    'of a live database with pages of %d bytes and auto_vacuum %d',
    async ([pageSize, vacuum], { place }) => {
      const writer = new Database(place.file, { timeout: 0 })
      place.atEnd(() => writer.close())
      writer.pragma(`page_size = ${pageSize}`)
      writer.pragma(`auto_vacuum = ${vacuum}`)
      writer.pragma('journal_mode = wal')
      writer.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
      const random = randomFrom(pageSize)
      let image: Buffer = Buffer.alloc(0)
      const table = new PageTable(pageSize)
      const works = [
        'INSERT INTO t (v) WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) SELECT randomblob(300) FROM n',
        'UPDATE t SET v = randomblob(900) WHERE id % 7 = 1',
        'DELETE FROM t WHERE id % 3 = 0',
        'PRAGMA incremental_vacuum(10)',
        'VACUUM',
        'PRAGMA wal_checkpoint(TRUNCATE)',
        'PRAGMA wal_checkpoint(PASSIVE)',
        'INSERT INTO t (v) VALUES (zeroblob(100000))',
        'SELECT 1',
      ]
      for (let round = 0; round < 12; round++) {
        const work = works[Math.floor(random() * works.length)] as string
        writer.exec(work)
        const source = openSource(place.file, 0) as OpenSource & { connection: Database.Database }
        const snapshot = takeSnapshot(source, source.connection, 0)
        expect(snapshot.pageSize).toBe(pageSize)
        image = await compared(place, snapshot, image, table)
        snapshot.release()
      }
      const copy = place.path('copy.db')
      writeFileSync(copy, image)
      const restored = new Database(copy)
      expect(restored.pragma('integrity_check', { simple: true })).toBe('ok')
      expect(restored.prepare('SELECT * FROM t').all()).toEqual(writer.prepare('SELECT * FROM t').all())
      restored.close()
    },
  )
})
