import { readdirSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { describe, expect } from 'vitest'
import { hasRoomFor, Spool } from '../src/child/spool.ts'
import { contentOf, integrityOf, takeImage } from './support/images.ts'
import { type Place, test } from './support/place.ts'

const MIB = 1024 * 1024

/** A database of about `mib` MiB, open. */
function create(place: Place, journalMode: string, mib: number): Database.Database {
  const database = new Database(place.file, { timeout: 0 })
  place.atEnd(() => database.close())
  database.pragma(`journal_mode = ${journalMode}`)
  database.pragma('synchronous = OFF')
  database.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)')
  for (let i = 0; i < mib; i++) database.exec(`INSERT INTO t (v) VALUES (randomblob(${MIB}))`)
  if (journalMode === 'wal') database.pragma('wal_checkpoint(TRUNCATE)')
  return database
}

/** Temporary files that have a name, without the mark in a job's own folder. */
const namedFiles = ({ temporary }: Place): string[] =>
  readdirSync(temporary, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'owner.json')
    .map(({ name }) => name)

/** A destination that takes pieces fast until `from` bytes, and then waits for `open()`. */
function gate(fromPiece: number) {
  let pieces = 0
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  let reached = (): void => {}
  const waiting = new Promise<void>((resolve) => {
    reached = resolve
  })
  const beforePiece = async (): Promise<void> => {
    if (++pieces !== fromPiece) return
    reached()
    await opened
  }
  return { beforePiece, waiting, open: () => open() }
}

const canTruncate = (database: Database.Database): boolean =>
  (database.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[])[0]?.busy === 0

describe('a slow destination', () => {
  test('does not keep the log from shrinking, and leaves no temporary file', async ({ place }) => {
    const database = create(place, 'wal', 30)
    const before = contentOf(place.file)
    const { beforePiece, waiting, open } = gate(2)
    const taking = takeImage(place, { releaseAfterMs: 0 }, { beforePiece })
    await waiting
    database.exec(`UPDATE t SET v = randomblob(1000)`)
    await expect.poll(() => canTruncate(database)).toBe(true) // while the backup is still being stored
    expect(statSync(`${place.file}-wal`).size).toBe(0)
    expect(namedFiles(place)).toEqual([])
    open()
    const { path, facts } = await taking
    expect(contentOf(path)).toBe(before)
    expect(facts.notes).toEqual([expect.stringContaining('temporary copy, so that the write-ahead log could shrink')])
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('holds the log until releaseAfterMs: the control of the test before', async ({ place }) => {
    const database = create(place, 'wal', 30)
    const { beforePiece, waiting, open } = gate(2)
    const taking = takeImage(place, {}, { beforePiece })
    await waiting
    database.exec(`UPDATE t SET v = randomblob(1000)`)
    await sleep(500)
    expect(canTruncate(database)).toBe(false)
    open()
    expect((await taking).facts.notes).toEqual([])
  })

  test('goes on without a temporary copy where none can be made, and says so', async ({ place }) => {
    create(place, 'wal', 20)
    const context = place.context({ temporaryDirectory: place.path('missing') })
    const { path, facts, pageHashes } = await takeImage(place, { releaseAfterMs: 0 }, { context })
    expect(integrityOf(path)).toBe('ok')
    expect(facts.notes).toEqual([
      expect.stringContaining('was held for the whole backup'),
      expect.stringMatching(/without page hashes.*will be a full: there is no folder for temporary files/),
    ])
    expect(facts.source.details).not.toHaveProperty('state')
    expect(pageHashes).toBeUndefined()
  })
})

describe('a rollback journal', () => {
  test('writers wait for the copying only, not for the destination', async ({ place }) => {
    const database = create(place, 'delete', 30)
    const { beforePiece, waiting, open } = gate(2)
    const taking = takeImage(place, {}, { beforePiece })
    await waiting
    await expect.poll(() => canWrite(database)).toBe(true) // while the backup is still being stored
    open()
    const { path, facts } = await taking
    expect(integrityOf(path)).toBe('ok')
    expect(facts.notes).toEqual([expect.stringMatching(/delete journal mode: writers had to wait for \d+ ms/)])
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('is let go after maxWriterBlockMs, with an error that says what to do', async ({ place }) => {
    const database = create(place, 'delete', 30)
    const failing = takeImage(place, { maxWriterBlockMs: 0 })
    await expect(failing).rejects.toMatchObject({
      code: 'SOURCE_BUSY',
      retryable: true,
      message: expect.stringContaining('which is the limit'),
      hint: expect.stringContaining('WAL'),
    })
    expect(canWrite(database)).toBe(true)
    expect(readdirSync(place.temporary)).toEqual([])
  })

  function canWrite(database: Database.Database): boolean {
    try {
      database.exec("INSERT INTO t (v) VALUES ('while it is backed up')")
      return true
    } catch {
      return false
    }
  }
})

describe('SQLite’s own online backup', () => {
  test.for(['wal', 'delete'])('of a database in %s mode', async (journalMode, { place }) => {
    const database = create(place, journalMode, 5)
    database.exec("INSERT INTO t (v) VALUES ('last')")
    const { path, facts, plain } = await takeImage(place, { image: 'online-backup', releaseAfterMs: 0 })
    expect(integrityOf(path)).toBe('ok')
    expect(contentOf(path)).toBe(contentOf(place.file))
    expect(facts.method).toBe('online-backup')
    expect(facts.notes).toEqual([
      expect.stringMatching(/online backup in \d+ ms, because the option `image` is 'online-backup'/),
    ])
    expect(facts.source.details).toMatchObject({ journalMode })
    expect(facts.source.sizeBytes).toBe(plain.bytes)
    expect(readdirSync(place.temporary)).toEqual([])
  })
})

describe('Spool', () => {
  test('gives back what was put in, has no name, and is gone when it is closed', ({ place }) => {
    const spool = new Spool(place.temporary)
    expect(readdirSync(place.temporary)).toEqual([])
    const pieces = [Buffer.alloc(3 * MIB + 17, 'a'), Buffer.alloc(0), Buffer.from('end')]
    for (const piece of pieces) spool.append(piece)
    const all = Buffer.concat(pieces)
    expect(spool.read(0, all.length).equals(all)).toBe(true)
    expect(spool.read(all.length - 2, 100).toString()).toBe('nd')
    expect(spool.read(5, 7).toString()).toBe('aaaaaaa')
    spool.close()
  })

  test('has mode 0600 while it is open', ({ place }) => {
    const spool = new Spool(place.temporary)
    const links = readdirSync('/proc/self/fd').map((fd) => `/proc/self/fd/${fd}`)
    const open = links.map((link) => statSync(link, { throwIfNoEntry: false }))
    const unlinked = open.filter((found) => found?.isFile() && found.nlink === 0)
    expect(unlinked.map((found) => (found?.mode ?? 0) & 0o777)).toContain(0o600)
    spool.close()
  })

  test('knows whether there is room', ({ place }) => {
    expect(hasRoomFor(place.temporary, 1)).toBe(true)
    expect(hasRoomFor(place.temporary, Number.MAX_SAFE_INTEGER)).toBe(false)
  })
})
