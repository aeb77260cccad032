import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import {
  type BackupPlan,
  createBackup,
  type Finding,
  listBackups,
  type Manifest,
  verifyBackup,
} from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { readPageHashesHeader } from '../src/changes/format.ts'
import { PieceReader } from '../src/changes/piece-reader.ts'
import { memberNamed } from '../src/members.ts'
import { applyChanges, decodeChanges, readMember, tableOf } from './support/changes.ts'
import { contentOf, integrityOf } from './support/images.ts'
import { type Place, test } from './support/place.ts'

/** A database of about 400 pages, open. */
function create(place: Place, journalMode = 'wal', file = place.file): Database.Database {
  const database = new Database(file, { timeout: 5_000 })
  place.atEnd(() => database.close())
  database.pragma(`journal_mode = ${journalMode}`)
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
  add(database, 1_500)
  return database
}

function add(database: Database.Database, rows: number): void {
  const insert = database.prepare('INSERT INTO t (v) VALUES (randomblob(800))')
  database.transaction(() => {
    for (let i = 0; i < rows; i++) insert.run()
  })()
}

const full = async (plan: BackupPlan): Promise<Manifest> => (await createBackup(plan)).manifest
const differential = async (plan: BackupPlan): Promise<Manifest> =>
  (await createBackup(plan, { kind: 'differential' })).manifest

const findingsOf = async (plan: BackupPlan): Promise<readonly Finding[]> =>
  (await verifyBackup(plan, { level: 'decoded' })).destinations.flatMap(({ findings }) => findings)

/** Puts together by hand what a full and a differential hold, checks all that is told of it, and gives its file. */
async function rebuilt(place: Place, base: Manifest, changes: Manifest): Promise<string> {
  expect(changes.requested).toBeUndefined()
  const image = await readMember(place, base, '.db')
  const decoded = await decodeChanges(await readMember(place, changes, '.changes'))
  const result = applyChanges(image, decoded)
  const { pageSize, steps, pages } = decoded.index
  const { state } = tableOf(result, pageSize)
  expect(steps).toHaveLength(1)
  expect(steps[0]).toMatchObject({ how: 'comparison', before: base.source.details?.state, after: state })
  expect(changes).toMatchObject({
    kind: 'differential',
    method: 'page-comparison',
    consistentAt: new Date(steps[0]?.capturedAt as number).toISOString(),
    position: { begin: base.position.end, end: base.position.end },
    source: {
      sizeBytes: result.length,
      details: { before: base.source.details?.state, state, pages: pages.length, pageCount: result.length / pageSize },
    },
  })
  const file = place.path(`rebuilt-${Math.random()}.db`)
  writeFileSync(file, result)
  expect(integrityOf(file)).toBe('ok')
  expect(readdirSync(place.temporary)).toEqual([])
  return file
}

describe('a full', () => {
  test.for(['wal', 'delete'])(
    'of a database in %s mode has the hash of each page of its image',
    async (mode, { place }) => {
      const database = create(place, mode)
      database.exec('UPDATE t SET v = NULL WHERE id = 7')
      const manifest = await full(place.plan())
      expect(manifest.members.map(({ name }) => name.replace(/^[^.]*/, ''))).toEqual(['.db', '.pagehashes'])
      expect(manifest.members.map(({ codecs }) => codecs[0]?.name)).toEqual(['zstd', 'zstd'])
      expect(manifest.position).toEqual({ end: `${manifest.chain}/000000000000000` })
      const hashes = await readMember(place, manifest, '.pagehashes')
      const table = tableOf(await readMember(place, manifest, '.db'), 4096)
      expect(manifest.source.details?.state).toBe(table.state)
      expect(hashes.subarray(-table.bytes.length).equals(table.bytes)).toBe(true)
      const header = await readPageHashesHeader(new PieceReader(Readable.from([hashes]), hashes.length).read)
      expect(header).toMatchObject({ pageSize: 4096, pageCount: table.pageCount, state: table.state })
      const findings = await findingsOf(place.plan())
      expect(findings.map(({ message }) => message)).toContainEqual(
        expect.stringMatching(/\.pagehashes has the hashes of \d+ pages of 4096 bytes/),
      )
    },
  )
})

/** What may happen to a database between a full and a differential. */
const EVENTS: Record<string, (database: Database.Database, place: Place) => unknown> = {
  'some rows change': (database) => database.exec('UPDATE t SET v = NULL WHERE id % 100 = 3'),
  'it grows, in the log': (database) => add(database, 900),
  'it grows, checkpointed': (database) => {
    add(database, 900)
    database.pragma('wal_checkpoint(TRUNCATE)')
  },
  'it shrinks by VACUUM': (database) => database.exec('DELETE FROM t WHERE id > 300; VACUUM'),
  'it is vacuumed': (database) => database.exec('DELETE FROM t WHERE id % 3 = 0; VACUUM'),
  'it leaves WAL mode': (database) => {
    database.exec('DELETE FROM t WHERE id = 9')
    expect(database.pragma('journal_mode = delete', { simple: true })).toBe('delete')
    add(database, 5)
  },
  'its file is replaced by another database': (database, place) => {
    database.close()
    for (const suffix of ['-wal', '-shm']) rmSync(place.file + suffix, { force: true })
    create(place, 'wal', place.path('other.db')).close()
    renameSync(place.path('other.db'), place.file)
  },
  'its file is replaced by a copy that went another way': (database, place) => {
    database.pragma('wal_checkpoint(TRUNCATE)')
    database.exec('DELETE FROM t WHERE id = 2')
    database.close()
    copyFileSync(place.file, place.path('copy.db'))
    const copy = new Database(place.path('copy.db'))
    copy.exec('UPDATE t SET v = NULL WHERE id = 1000')
    copy.close()
    renameSync(place.path('copy.db'), place.file)
  },
}

describe('a differential holds all that differs from the full, after', () => {
  test.for(Object.entries(EVENTS))('%s', async ([, happen], { place }) => {
    const plan = place.plan()
    const database = create(place)
    const base = await full(plan)
    await happen(database, place)
    const changes = await differential(plan)
    expect(contentOf(await rebuilt(place, base, changes))).toBe(contentOf(place.file))
    const details = changes.source.details as { pages: number; pageCount: number }
    expect(details.pages).toBeGreaterThan(0)
    const findings = await findingsOf(plan)
    expect(findings.map(({ severity }) => severity)).not.toContain('error')
  })

  test.for(['delete', 'truncate', 'persist'])('changes in %s journal mode', async (mode, { place }) => {
    const plan = place.plan()
    const database = create(place, mode)
    const base = await full(plan)
    database.exec('UPDATE t SET v = NULL WHERE id < 10')
    const changes = await differential(plan)
    expect(contentOf(await rebuilt(place, base, changes))).toBe(contentOf(place.file))
    expect(changes.notes).toEqual([expect.stringMatching(/writers had to wait for \d+ ms/)])
    expect(changes.source.details?.pages).toBeLessThan(10)
  })

  test('changes that SQLite’s own online backup shows, and it tells why', async ({ place }) => {
    const plan = place.plan({ sqlite: { image: 'online-backup' } })
    const database = create(place)
    const base = await full(plan)
    database.exec('UPDATE t SET v = NULL WHERE id < 10')
    const changes = await differential(plan)
    expect(contentOf(await rebuilt(place, base, changes))).toBe(contentOf(place.file))
    expect(changes.notes).toEqual([expect.stringContaining('online backup')])
  })

  test('many rounds: each is against the full, whatever is between them', async ({ place }) => {
    const plan = place.plan()
    const database = create(place)
    const base = await full(plan)
    let before = 0
    for (let round = 0; round < 3; round++) {
      database.exec(`UPDATE t SET v = NULL WHERE id BETWEEN ${round * 300} AND ${round * 300 + 30}`)
      const changes = await differential(plan)
      expect(contentOf(await rebuilt(place, base, changes))).toBe(contentOf(place.file))
      expect(changes.source.details?.pages).toBeGreaterThan(before)
      before = changes.source.details?.pages as number
    }
  })
})

describe('a differential', () => {
  test('of no change is a small member without a page, and says so', async ({ place }) => {
    const plan = place.plan()
    create(place)
    const base = await full(plan)
    const changes = await differential(plan)
    await rebuilt(place, base, changes)
    expect(changes.source.details?.pages).toBe(0)
    expect(changes.notes).toEqual(['Nothing changed since the full.'])
    expect(memberNamed(changes, '.changes')?.stored.bytes).toBeLessThan(1_000)
    const { index } = await decodeChanges(await readMember(place, changes, '.changes'))
    expect(index.steps[0]).toMatchObject({ commits: [], firstCommit: 1, lastCommit: 0 })
  })

  test('tells where the write-ahead log was', async ({ place }) => {
    const plan = place.plan()
    const database = create(place)
    await full(plan)
    add(database, 1)
    const { index } = await decodeChanges(await readMember(place, await differential(plan), '.changes'))
    const log = readFileSync(`${place.file}-wal`)
    const mark = index.steps[0]?.mark
    const frames = (database.pragma('wal_checkpoint(NOOP)') as { log: number }[])[0]?.log as number
    const at = 32 + (frames - 1) * (24 + 4096)
    expect(mark).toEqual({
      salts: log.toString('hex', 16, 24),
      frame: frames,
      checksum: log.toString('hex', at + 16, at + 24),
    })
  })

  test('is never earlier than its full, however the clock is set back', async ({ place }) => {
    create(place)
    let aheadMs = 3_600_000
    const plan = place.plan({ runtime: { now: () => new Date(Date.now() + aheadMs) } })
    const base = await full(plan)
    aheadMs = -3_600_000
    const changes = await differential(plan)
    expect(changes.consistentAt).toBe(base.consistentAt)
  })

  test('of a database with another page size becomes a full, with the reason', async ({ place }) => {
    const database = create(place, 'delete')
    await full(place.plan())
    database.exec('PRAGMA page_size = 8192; VACUUM')
    const strict = createBackup(place.plan({ strictKinds: true }), { kind: 'differential' })
    await expect(strict).rejects.toMatchObject({ code: 'BASE_UNUSABLE', message: expect.stringContaining('8192') })
    const made = await differential(place.plan())
    expect(made).toMatchObject({ kind: 'full', requested: { kind: 'differential' } })
    expect(made.requested?.reason).toContain(
      'pages of 8192 bytes now; in the chain’s full it had 4096'.replace('’', "'"),
    )
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test.for<[string, (file: string) => void, RegExp]>([
    ['damaged', (file) => writeFileSync(file, readFileSync(file).fill(0, 100, 120)), /cannot be read/],
    ['missing', (file) => rmSync(file), /hold the whole chain|no full backup|cannot be read/],
  ])('becomes a full when the page hashes of the full are %s', async ([, harm, reason], { place }) => {
    create(place)
    const base = await full(place.plan())
    harm(join(place.backups, base.plan, base.id, memberNamed(base, '.pagehashes')?.file as string))
    const made = await differential(place.plan())
    expect(made).toMatchObject({
      kind: 'full',
      requested: { kind: 'differential', reason: expect.stringMatching(reason) },
    })
  })

  test('becomes a full when the full was stored without page hashes', async ({ place }) => {
    create(place)
    await full(place.plan({ temporaryDirectory: place.path('missing') }))
    const made = await differential(place.plan())
    expect(made.requested?.reason).toMatch(/was stored without page hashes/)
    expect((await differential(place.plan())).kind).toBe('differential')
  })

  test('keeps writers of a rollback-journal database waiting no longer than it may', async ({ place }) => {
    const database = create(place, 'delete')
    for (let i = 0; i < 30; i++) database.exec('INSERT INTO t (v) VALUES (randomblob(1000000))')
    await full(place.plan())
    const hurried = createBackup(place.plan({ sqlite: { maxWriterBlockMs: 0 } }), { kind: 'differential' })
    await expect(hurried).rejects.toMatchObject({ code: 'SOURCE_BUSY', retryable: true })
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('without room for temporary files says so', async ({ place }) => {
    create(place)
    await full(place.plan())
    const failing = createBackup(place.plan({ temporaryDirectory: place.path('missing') }), { kind: 'differential' })
    await expect(failing).rejects.toMatchObject({
      code: 'TARGET_INVALID',
      hint: expect.stringContaining('temporaryDirectory'),
    })
  })
})

test('a differential whose child is killed leaves nothing behind', async ({ place }) => {
  create(place)
  await full(place.plan())
  const spawnToKill = (...args: Parameters<typeof spawn>): ChildProcess => {
    const child = spawn(...args)
    const send = child.send.bind(child) as (message: object, sent: () => void) => boolean
    child.send = ((message: { job: string }, sent: () => void) => {
      if (message.job === 'differential') child.kill('SIGKILL')
      return send(message, sent)
    }) as ChildProcess['send']
    return child
  }
  const plan = place.plan({ runtime: { spawn: spawnToKill as typeof spawn } })
  await expect(differential(plan)).rejects.toMatchObject({ code: 'CHILD_FAILED', retryable: true })
  expect(readdirSync(place.temporary)).toEqual([])
  expect((await listBackups(plan)).backups.map(({ kind }) => kind)).toEqual(['full'])
})
