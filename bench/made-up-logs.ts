// Many log backups of a second each, without waiting for as many seconds: the transactions are real, and so are their
// pages, as SQLite wrote them into its write-ahead log; the times are made up, one second after the other.
import { createHash } from 'node:crypto'
import { createReadStream, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import {
  compress,
  createBackup,
  defineBackupPlan,
  directory,
  type Manifest,
  type StreamFacts,
} from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import Database from 'better-sqlite3'
import { fileStem, newBackupId } from '../packages/core/src/layout.ts'
import { serializeManifest } from '../packages/core/src/manifest.ts'
import { encodeIndex, type Step } from '../packages/sqlite/src/changes/format.ts'
import { hashPage, PageTable } from '../packages/sqlite/src/changes/page-table.ts'
import { run } from './measure.ts'

export interface MadeUpLogs {
  /** A copy of a database, which nobody else has open. */
  readonly live: string
  /** Where the copy of it, and the backups go. */
  readonly folder: string
  readonly transactions: number
  readonly perLog: number
}

/** How far back the full lies, so that nothing is in the future. */
const AGE_MS = 3 * 86_400_000
const EVERY_MS = 1000
const BATCH = 1000

/** Makes them in `folder/backups`, and tells the id of their full, and when the first and the last step were captured. */
export async function makeLogs({ live, folder, transactions, perLog }: MadeUpLogs) {
  const database = new Database(live)
  database.pragma('journal_mode = WAL')
  database.pragma('wal_autocheckpoint = 0')
  const write = transaction(database)
  const backups = join(folder, 'backups')
  const plan = defineBackupPlan({
    name: 'bench',
    adapter: sqlite({ file: live }),
    destinations: [directory(backups)],
    runtime: { now: () => new Date(Date.now() - AGE_MS) },
  })
  write(0)
  const full = await createBackup(plan)
  write(1)
  const { manifest } = await createBackup(plan, { kind: 'log' })
  database.pragma('wal_checkpoint(TRUNCATE)')

  const { pageSize } = manifest.source.details as { pageSize: number }
  const table = await tableOf(live, join(folder, 'copy.db'), pageSize)
  if (table.state !== manifest.source.details?.state)
    throw new Error('The page table is another one than the log tells.')
  const writer = new LogWriter(join(backups, 'bench'), manifest, table)
  for (let done = 0; done < transactions; ) {
    const end = Math.min(transactions, done + BATCH)
    for (; done < end; done++) write(done + 2)
    for (const commit of readCommits(`${live}-wal`, pageSize)) {
      writer.add(commit)
      if (writer.steps === perLog) await writer.end()
    }
    database.pragma('wal_checkpoint(TRUNCATE)')
  }
  if (writer.steps > 0) await writer.end()
  const ticks = database.prepare('SELECT count(*) FROM ticks').pluck().get() as number
  database.close()
  return {
    fullId: full.id,
    startedAtMs: Date.parse(manifest.consistentAt),
    ticks,
    logs: writer.logs,
    bytes: writer.bytes,
  }
}

/** One row more, and three others changed: about four pages. */
function transaction(database: Database.Database): (n: number) => void {
  const tick = database.prepare('INSERT INTO ticks (at, sum) VALUES (?, ?)')
  const touch = database.prepare('UPDATE comments SET author = author + 1 WHERE id = ?')
  const rows = database.prepare('SELECT max(id) FROM comments').pluck().get() as number
  return database.transaction((n: number) => {
    tick.run(n, n)
    for (let i = 0; i < 3; i++) touch.run(1 + ((n * 7919 + i * 104_729) % rows))
  })
}

async function tableOf(live: string, copy: string, pageSize: number): Promise<PageTable> {
  // Of a copy: closing the file itself would let go of SQLite's locks.
  await run(`cp '${live}' '${copy}'`, 600)
  const table = new PageTable(pageSize, statSync(copy).size / pageSize)
  let page = 0
  for await (const piece of createReadStream(copy, { highWaterMark: 256 * pageSize })) {
    for (let at = 0; at < piece.length; at += pageSize) table.set(++page, hashPage(piece.subarray(at, at + pageSize)))
  }
  return table
}

interface Commit {
  readonly pageCount: number
  readonly images: ReadonlyMap<number, Buffer>
}

/** The commits of a write-ahead log in which there is nothing but them: it was truncated before. */
function* readCommits(wal: string, pageSize: number): Generator<Commit> {
  const bytes = readFileSync(wal)
  let images = new Map<number, Buffer>()
  for (let at = 32; at + 24 + pageSize <= bytes.length; at += 24 + pageSize) {
    images.set(bytes.readUInt32BE(at), bytes.subarray(at + 24, at + 24 + pageSize))
    const pageCount = bytes.readUInt32BE(at + 4)
    if (pageCount === 0) continue
    yield { pageCount, images }
    images = new Map()
  }
}

/** Writes log backups that go on where a real one ended. */
class LogWriter {
  logs = 0
  bytes = 0
  readonly #folder: string
  readonly #table: PageTable
  #last: Manifest
  #lastCommit: number
  #timeMs: number
  #steps: Step[] = []
  #pages: number[] = []
  #hashes: Buffer[] = []
  #images: Buffer[] = []

  constructor(folder: string, last: Manifest, table: PageTable) {
    this.#folder = folder
    this.#last = last
    this.#table = table
    this.#lastCommit = last.source.details?.lastCommit as number
    this.#timeMs = Date.parse(last.consistentAt)
  }

  get steps(): number {
    return this.#steps.length
  }

  add({ pageCount, images }: Commit): void {
    const before = this.#table.state
    this.#table.resize(pageCount)
    for (const [page, image] of images) {
      const hash = hashPage(image)
      this.#table.set(page, hash)
      this.#pages.push(page)
      this.#hashes.push(Buffer.copyBytesFrom(hash))
      this.#images.push(image)
    }
    this.#timeMs += EVERY_MS
    const commit = ++this.#lastCommit
    this.#steps.push({
      lookedAt: this.#timeMs - 1,
      capturedAt: this.#timeMs,
      how: 'log',
      before,
      after: this.#table.state,
      firstCommit: commit,
      lastCommit: commit,
      commits: [[pageCount, images.size]],
    })
  }

  async end(): Promise<void> {
    const { pageSize } = this.#table
    const pages = Uint32Array.from(this.#pages)
    const index = encodeIndex({ pageSize, steps: this.#steps, pages, hashes: Buffer.concat(this.#hashes) })
    const plain = Buffer.concat([index, ...this.#images])
    const stored = await buffer(compress(piecesOf(plain), { algorithm: 'zstd', level: 3 }))
    const manifest = this.#manifest(factsOf(plain), factsOf(stored))
    const folder = join(this.#folder, manifest.id)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, manifest.members[0]?.file as string), stored)
    writeFileSync(join(folder, 'manifest.json'), serializeManifest(manifest))
    this.logs++
    this.bytes += stored.length
    this.#last = manifest
    this.#steps = []
    this.#pages = []
    this.#hashes = []
    this.#images = []
  }

  #manifest(plain: StreamFacts, stored: StreamFacts): Manifest {
    const last = this.#last
    const [first, end] = [this.#steps[0] as Step, this.#steps.at(-1) as Step]
    const endedAt = new Date(end.capturedAt)
    const startedAt = new Date(end.capturedAt + 1)
    const name = `${fileStem(last.plan, startedAt)}.changes`
    const numbers = { firstCommit: first.firstCommit, lastCommit: end.lastCommit, steps: this.#steps.length }
    return {
      ...last,
      id: newBackupId(last.chain, startedAt, 'log'),
      base: { full: last.base?.full as string, previous: last.id },
      startedAt: startedAt.toISOString(),
      consistentAt: endedAt.toISOString(),
      finishedAt: startedAt.toISOString(),
      position: {
        begin: last.position.end,
        end: `${last.chain}/${String(end.lastCommit).padStart(15, '0')}`,
      },
      members: [{ name, file: `${name}.zst`, codecs: [{ name: 'zstd', level: 3 }], plain, stored }],
      source: {
        ...last.source,
        sizeBytes: this.#table.pageCount * this.#table.pageSize,
        details: {
          ...last.source.details,
          ...numbers,
          pageCount: this.#table.pageCount,
          before: first.before,
          state: end.after,
          pages: this.#pages.length,
        },
      },
      resolutionMs: EVERY_MS,
    }
  }
}

const factsOf = (bytes: Buffer): StreamFacts => ({
  bytes: bytes.length,
  sha256: createHash('sha256').update(bytes).digest('hex'),
})

async function* piecesOf(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
