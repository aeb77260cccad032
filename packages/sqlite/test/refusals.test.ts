import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBackup, listBackups } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { type SqliteOptions, sqlite } from '../src/index.ts'
import { assertRuntime } from '../src/runtime.ts'
import { integrityOf, takeImage } from './support/images.ts'
import { type Place, test } from './support/place.ts'

const isRoot = process.getuid?.() === 0

function create(file: string, journalMode = 'wal'): void {
  const database = new Database(file)
  database.pragma(`journal_mode = ${journalMode}`)
  database.exec('CREATE TABLE t (v); INSERT INTO t VALUES (1)')
  database.close()
}

/** Expects a backup to fail with `code`, to leave nothing stored and to leave the source as it was. */
async function expectRefused(place: Place, code: string, message?: string, options: Partial<SqliteOptions> = {}) {
  const before = existsSync(place.file) && statSync(place.file).isFile() ? readFileSync(place.file) : undefined
  const plan = place.plan({ sqlite: options })
  const failure = { code, ...(message && { message: expect.stringContaining(message) }) }
  await expect(createBackup(plan)).rejects.toMatchObject(failure)
  await expect(plan.adapter.describe(place.context())).rejects.toMatchObject({ code })
  expect(await listBackups(plan)).toMatchObject({ backups: [], incomplete: [] })
  if (before) expect(readFileSync(place.file).equals(before)).toBe(true)
  expect(readdirSync(place.temporary)).toEqual([])
}

describe('no database', () => {
  test('missing, in a missing folder, or below a file', async ({ place }) => {
    await expectRefused(place, 'SOURCE_MISSING', place.file)
    await expectRefused(place, 'SOURCE_MISSING', undefined, { file: join(place.app, 'no', 'such.db') })
    create(place.file)
    await expectRefused(place, 'SOURCE_MISSING', undefined, { file: join(place.file, 'below.db') })
    expect(readdirSync(place.app)).toEqual(['tasks.db'])
  })

  test('a folder', async ({ place }) => {
    mkdirSync(place.file)
    await expectRefused(place, 'SOURCE_NOT_DATABASE', 'is not a file')
  })

  test('zero bytes, text, a header that is cut short, random bytes as of an encrypted one', async ({ place }) => {
    const contents = {
      'is empty': Buffer.alloc(0),
      'SQLite format 3': Buffer.from('tasks are kept elsewhere\n'.repeat(500)),
      '60 bytes': Buffer.from('SQLite format 3\0'.padEnd(60, '\0')),
      'no SQLite database': randomBytes(8192),
    }
    for (const [message, content] of Object.entries(contents)) {
      writeFileSync(place.file, content)
      await expectRefused(place, 'SOURCE_NOT_DATABASE', message)
    }
  })

  test('a right header over nothing but noise', async ({ place }) => {
    create(place.file, 'delete')
    const bytes = readFileSync(place.file)
    writeFileSync(place.file, Buffer.concat([bytes.subarray(0, 100), randomBytes(bytes.length - 100)]))
    await expectRefused(place, 'SOURCE_UNREADABLE')
  })
})

describe('options', () => {
  test('a database in memory', () => {
    for (const file of [':memory:', ''])
      expect(() => sqlite({ file })).toThrow(expect.objectContaining({ code: 'SOURCE_IN_MEMORY' }))
  })

  test('every bad one is named at once', () => {
    const options = {
      file: 'file:tasks.db?mode=ro',
      busyTimeoutMs: -1,
      maxWriterBlockMs: 'soon',
      releaseAfterMs: Number.NaN,
      image: 'best',
      fiel: 1,
    }
    const names = ['file', 'busyTimeoutMs', 'maxWriterBlockMs', 'releaseAfterMs', 'image', 'fiel']
    expect(() => sqlite(options as unknown as SqliteOptions)).toThrow(
      expect.objectContaining({
        code: 'OPTIONS_INVALID',
        details: names.map((name) => expect.stringMatching(`^${name}: `)),
      }),
    )
  })

  test('no options, no path, a path with a zero byte', () => {
    for (const options of [undefined, null, {}, { file: 7 }, { file: 'a\0b' }]) {
      expect(() => sqlite(options as unknown as SqliteOptions)).toThrow(
        expect.objectContaining({ code: 'OPTIONS_INVALID' }),
      )
    }
  })

  test('a Node.js that is too old', () => {
    for (const version of ['18.20.4', '20.19.0', '22.14.9']) {
      expect(() => assertRuntime(version)).toThrow(expect.objectContaining({ code: 'RUNTIME_UNSUPPORTED' }))
    }
    for (const version of ['22.15.0', '22.20.1', '24.0.0', '26.1.0']) assertRuntime(version)
  })
})

describe('locks', () => {
  test.for(['wal', 'delete'])('somebody holds a %s database exclusively', async (journalMode, { place }) => {
    create(place.file, journalMode)
    const other = await place.agent()
    await other.run(({ Database, held }, file) => {
      held.a = new Database(file)
      held.a.pragma('locking_mode = EXCLUSIVE')
      held.a.exec('INSERT INTO t VALUES (2)')
    }, place.file)
    const plan = place.plan({ sqlite: { busyTimeoutMs: 200 } })
    await expect(createBackup(plan)).rejects.toMatchObject({ code: 'SOURCE_BUSY', retryable: true })
    await other.kill()
    await createBackup(plan)
  })
})

describe('what a crash left', () => {
  test('a hot journal is rolled back first: no torn row is in the image', async ({ place }) => {
    const writer = await place.agent()
    await writer.run(({ Database, held }, file) => {
      held.a = new Database(file)
      held.a.exec(
        'CREATE TABLE t (v); INSERT INTO t WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) SELECT hex(randomblob(50)) FROM c',
      )
      held.a.pragma('cache_size = 20')
      held.a.exec("BEGIN; UPDATE t SET v = 'torn'")
    }, place.file)
    await writer.kill()
    expect(statSync(`${place.file}-journal`).size).toBeGreaterThan(0)
    // The control: the bare file has torn rows.
    copyFileSync(place.file, place.path('bare.db'))
    expect(torn(place.path('bare.db'))).toBeGreaterThan(0)
    const { path } = await takeImage(place)
    expect(integrityOf(path)).toBe('ok')
    expect(torn(path)).toBe(0)
  })

  function torn(file: string): number {
    const database = new Database(file)
    const { count } = database.prepare("SELECT count(*) AS count FROM t WHERE v = 'torn'").get() as { count: number }
    database.close()
    return count
  }

  test('a log with committed frames, and with spilled ones that never were: only the first are in the image', async ({
    place,
  }) => {
    const writer = await place.agent()
    await writer.run(({ Database, held }, file) => {
      const database = new Database(file)
      held.a = database
      database.pragma('journal_mode = wal')
      database.pragma('wal_autocheckpoint = 0')
      database.exec('CREATE TABLE t (v)')
      for (let i = 0; i < 500; i++) database.exec(`INSERT INTO t VALUES ('committed ${i}')`)
      database.pragma('cache_size = 10')
      database.exec(
        "BEGIN; INSERT INTO t WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20000) SELECT 'torn' FROM c",
      )
    }, place.file)
    await writer.kill()
    expect(statSync(`${place.file}-wal`).size).toBeGreaterThan(500_000)
    const { path } = await takeImage(place)
    expect(integrityOf(path)).toBe('ok')
    expect(torn(path)).toBe(0)
    const database = new Database(path)
    expect(database.prepare('SELECT count(*) AS count FROM t').get()).toEqual({ count: 500 })
    database.close()
  })
})

describe('a read-only file system', () => {
  test('a clean database in WAL mode is copied as it is; one with a log needs the log’s index', async ({
    place,
    skip,
  }) => {
    const folder = join(place.folder, 'disc')
    const [clean = '', unread = '', lost = '', rollback = ''] = ['clean', 'unread', 'lost', 'rollback'].map((name) =>
      join(folder, name),
    )
    mkdirSync(folder)
    create(clean)
    create(rollback, 'delete')
    const writer = await place.agent()
    await writer.run(({ Database, held }, file) => {
      held.a = new Database(file)
      held.a.pragma('journal_mode = wal')
      held.a.exec('CREATE TABLE t (v); INSERT INTO t VALUES (1)')
    }, unread)
    await writer.kill()
    copyFileSync(unread, lost)
    copyFileSync(`${unread}-wal`, `${lost}-wal`)
    const mounted =
      isRoot &&
      spawnSync('sh', ['-c', `mount --bind '${folder}' '${folder}' && mount -o remount,ro,bind '${folder}'`]).status ===
        0
    if (isRoot) place.atEnd(() => spawnSync('umount', [folder]))
    skip(!mounted, 'only a user who may mount can make a read-only file system')
    const image = await takeImage(place, { file: clean })
    expect(image.facts).toMatchObject({
      method: 'static-copy',
      notes: [expect.stringContaining('read-only file system')],
    })
    expect(integrityOf(image.path)).toBe('ok')
    expect((await takeImage(place, { file: rollback })).facts.method).toBe('single-pass')
    const live = await takeImage(place, { file: unread })
    expect(live.facts).toMatchObject({ method: 'online-backup', notes: [expect.stringContaining('may only read')] })
    expect(integrityOf(live.path)).toBe('ok')
    await expect(takeImage(place, { file: lost })).rejects.toMatchObject({
      code: 'SOURCE_UNREADABLE',
      message: expect.stringContaining('unread write-ahead log'),
      hint: expect.stringContaining('-wal'),
    })
  })
})
