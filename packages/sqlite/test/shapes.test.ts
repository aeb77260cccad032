import { existsSync, readFileSync, statSync } from 'node:fs'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { parseHeader } from '../src/child/header.ts'
import { contentOf, integrityOf, takeImage } from './support/images.ts'
import { type Place, test } from './support/place.ts'

/** Takes an image while the connection that made the database is still open, and compares the two. */
async function expectSameImage(place: Place, make: (database: Database.Database) => void) {
  const database = new Database(place.file)
  place.atEnd(() => database.close())
  database.pragma('journal_mode = wal')
  make(database)
  const image = await takeImage(place)
  expect(image.facts.method).toBe('single-pass')
  expect(integrityOf(image.path)).toBe('ok')
  expect(contentOf(image.path)).toBe(contentOf(place.file))
  return image
}

const rows = (count: number, bytes: number): string =>
  `INSERT INTO t WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${count}) SELECT i, randomblob(${bytes}) FROM c`

describe('what a database can look like', () => {
  test('frames that were never checkpointed', async ({ place }) => {
    const { facts } = await expectSameImage(place, (database) => {
      database.pragma('wal_autocheckpoint = 0')
      database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(2_000, 500)}`)
      database.exec(`UPDATE t SET v = randomblob(400) WHERE id % 3 = 0; DELETE FROM t WHERE id % 7 = 0`)
    })
    expect(statSync(place.file).size).toBeLessThan(20_000)
    expect(facts.source.details?.mark).toMatch(/^wal:[0-9a-f]{16}:\d+$/)
  })

  test('a log with no frames', async ({ place }) => {
    const { facts } = await expectSameImage(place, (database) => {
      database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(100, 500)}`)
      database.pragma('wal_checkpoint(TRUNCATE)')
    })
    expect(statSync(`${place.file}-wal`).size).toBe(0)
    expect(facts.source.details?.mark).toMatch(/^file:/)
  })

  test('a log that is in the file already', async ({ place }) => {
    await expectSameImage(place, (database) => {
      database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(100, 500)}`)
      database.pragma('wal_checkpoint(FULL)')
    })
    expect(statSync(`${place.file}-wal`).size).toBeGreaterThan(0)
  })

  test('a log that began anew over a longer one', async ({ place }) => {
    await expectSameImage(place, (database) => {
      database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(1_000, 500)}`)
      database.pragma('wal_checkpoint(RESTART)')
      database.exec(`UPDATE t SET v = 'new' WHERE id < 20`)
    })
  })

  test('nobody has it open', async ({ place }) => {
    const database = new Database(place.file)
    database.pragma('journal_mode = wal')
    database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(100, 500)}`)
    database.close()
    expect(existsSync(`${place.file}-wal`)).toBe(false)
    const { path } = await takeImage(place)
    expect(contentOf(path)).toBe(contentOf(place.file))
  })

  test('free pages at the end of the file', async ({ place }) => {
    await expectSameImage(place, (database) => {
      database.exec(
        `CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(1_000, 3_000)} ; DELETE FROM t WHERE id > 10`,
      )
      database.pragma('wal_checkpoint(TRUNCATE)')
      expect(database.pragma('freelist_count', { simple: true })).toBeGreaterThan(500)
    })
  })

  test('pages that were taken and freed in one transaction, so that they were never written', async ({ place }) => {
    const { plain } = await expectSameImage(place, (database) => {
      database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
      database.exec(`BEGIN; ${rows(3_000, 3_000)}; DELETE FROM t; COMMIT`)
      database.pragma('wal_checkpoint(TRUNCATE)')
    })
    expect(plain.bytes).toBeGreaterThan(1_000_000)
  })

  test('after VACUUM, with the smaller database still in the log', async ({ place }) => {
    const { plain } = await expectSameImage(place, (database) => {
      database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(1_000, 3_000)}`)
      database.pragma('wal_checkpoint(TRUNCATE)')
      database.pragma('wal_autocheckpoint = 0')
      database.exec('DELETE FROM t WHERE id > 10; VACUUM')
    })
    expect(statSync(place.file).size).toBeGreaterThan(10 * plain.bytes)
  })

  test('shrunk by incremental_vacuum inside the log', async ({ place }) => {
    const { plain } = await expectSameImage(place, (database) => {
      database.pragma('journal_mode = delete')
      database.exec('PRAGMA auto_vacuum = 2; VACUUM')
      database.pragma('journal_mode = wal')
      database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB); ${rows(1_000, 3_000)}`)
      database.pragma('wal_checkpoint(TRUNCATE)')
      database.pragma('wal_autocheckpoint = 0')
      database.exec('DELETE FROM t WHERE id > 500')
      database.pragma('incremental_vacuum(300)')
      database.exec('UPDATE t SET v = NULL WHERE id < 5')
    })
    expect(plain.bytes).toBeLessThan(statSync(place.file).size - 200 * 4096)
  })

  test('empty tables, and no table at all', async ({ place }) => {
    const { facts } = await expectSameImage(place, (database) =>
      database.exec('CREATE TABLE a (x); CREATE TABLE b (y)'),
    )
    expect(facts.source.details).toMatchObject({ tables: 2 })
    const other = place.path('bare.db')
    const bare = new Database(other)
    bare.exec('PRAGMA user_version = 7; VACUUM')
    bare.close()
    const image = await takeImage(place, { file: other })
    expect(integrityOf(image.path)).toBe('ok')
    expect(image.facts.source.details).toMatchObject({ tables: 0, userVersion: 7, journalMode: 'delete' })
  })

  test.for(['UTF-16le', 'UTF-16be'])('text in %s', async (encoding, { place }) => {
    const { facts } = await expectSameImage(place, (database) => {
      database.pragma('journal_mode = delete')
      database.pragma(`encoding = '${encoding}'`)
      database.exec("CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('Grüße, 世界 🌍')")
      database.pragma('journal_mode = wal')
    })
    expect(facts.source.details).toMatchObject({ encoding })
  })

  test('WITHOUT ROWID, FTS5, generated columns, views, triggers and blobs', async ({ place }) => {
    await expectSameImage(place, (database) => {
      database.exec(`
        CREATE TABLE w (a TEXT, b INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE VIRTUAL TABLE f USING fts5 (title, body);
        CREATE TABLE g (a INTEGER, twice INTEGER GENERATED ALWAYS AS (a * 2) STORED, half AS (a / 2.0));
        CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB);
        CREATE INDEX g_twice ON g (twice) WHERE twice > 10;
        CREATE VIEW big AS SELECT * FROM g WHERE twice > 10;
        CREATE TRIGGER g_added AFTER INSERT ON g BEGIN INSERT INTO w VALUES ('g', new.a); END;`)
      for (let i = 0; i < 200; i++) database.prepare('INSERT INTO g (a) VALUES (?)').run(i)
      for (let i = 0; i < 200; i++)
        database.prepare('INSERT INTO f VALUES (?, ?)').run(`task ${i}`, `body of ${i} with words`)
      database.exec(rows(5, 400_000))
    })
  })

  test('the mark of a rollback-journal database is the change counter of its image', async ({ place }) => {
    const database = new Database(place.file)
    database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
    for (let i = 0; i < 30; i++) database.exec('INSERT INTO t (v) VALUES (1)')
    database.close()
    const { path, facts } = await takeImage(place)
    const header = parseHeader(readFileSync(path))
    expect(facts.source.details?.mark).toBe(`file:${(header as { changeCounter: number }).changeCounter}`)
  })
})
