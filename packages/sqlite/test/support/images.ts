import { createHash, randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import type { AdapterContext, BackupFacts, Compression, StreamFacts } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { type SqliteOptions, sqlite } from '../../src/index.ts'
import type { Place } from './place.ts'

export interface TakenImage {
  readonly path: string
  readonly facts: BackupFacts
  readonly plain: StreamFacts
  /** The second member, where there is one. */
  readonly pageHashes?: Buffer
}

export interface TakeOptions {
  readonly compression?: Compression
  readonly context?: AdapterContext
  /** Called before each piece of the image is taken: a slow destination. */
  readonly beforePiece?: () => Promise<unknown>
}

/** On a busy machine an image takes its time, and its writers leave it little. */
const PATIENT = { busyTimeoutMs: 120_000, maxWriterBlockMs: 120_000, releaseAfterMs: 600_000 }

/** Makes one image with the adapter alone and puts it into a file of its own, as it was sent. */
export async function takeImage(
  place: Place,
  options: Partial<SqliteOptions> = {},
  take: TakeOptions = {},
): Promise<TakenImage> {
  const { compression = { algorithm: 'none', level: 0 }, context = place.context(), beforePiece } = take
  const adapter = sqlite({ file: place.file, ...PATIENT, ...options })
  const request = { kind: 'full', id: 'chain/none', startedAt: new Date(), fileStem: 'tasks', compression } as const
  const members = adapter.backup(request, context)
  try {
    const first = await members.next()
    if (first.done) throw new Error('The adapter gave no member.')
    const path = join(place.folder, `image-${randomUUID()}.db`)
    await pipeline(slowly(first.value.body, beforePiece), createWriteStream(path))
    let last = await members.next()
    const pageHashes = last.done ? undefined : await buffer(last.value.body)
    if (!last.done) last = await members.next()
    if (!last.done) throw new Error('The adapter gave a third member.')
    const plain = first.value.encoded?.plain() as StreamFacts
    return { path, facts: last.value, plain, ...(pageHashes && { pageHashes }) }
  } finally {
    await members.return(undefined as never)
  }
}

async function* slowly(body: Readable, beforePiece: TakeOptions['beforePiece']): AsyncGenerator<Buffer> {
  const pieces = body[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  for (;;) {
    await beforePiece?.()
    const step = await pieces.next()
    if (step.done) return
    yield step.value
  }
}

/** Hash over every row of every table, of a database that nobody writes to. Two that hold the same have the same. */
export function contentOf(file: string): string {
  const database = new Database(file, { fileMustExist: true })
  const hash = createHash('sha256')
  try {
    const tables = database.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name").all() as {
      name: string
      sql: string
    }[]
    for (const { name, sql } of tables) {
      hash.update(`${name}\n${sql}\n`)
      for (const row of database.prepare(`SELECT * FROM "${name}"`).raw().iterate()) hash.update(JSON.stringify(row))
    }
    return hash.digest('hex')
  } finally {
    database.close()
  }
}

export function integrityOf(file: string): string {
  const database = new Database(file, { fileMustExist: true })
  try {
    return database.pragma('integrity_check', { simple: true }) as string
  } finally {
    database.close()
  }
}
