import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import type { Manifest } from '@taskflow-backup/core'
import type { Step } from '../../../src/changes/format.ts'

// Reads what is stored as docs/format.md describes it, a second time and without the product's code.

export interface StoredBackup {
  readonly folder: string
  readonly manifest: Manifest
}

/** Everything that is committed in a destination, in the order of the ids. */
export function storedBackups(root: string): StoredBackup[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('/manifest.json'))
    .map((name) => ({
      folder: join(root, name, '..'),
      manifest: JSON.parse(readFileSync(join(root, name), 'utf8')) as Manifest,
    }))
    .sort((a, b) => (a.manifest.id < b.manifest.id ? -1 : 1))
}

/** Plain content of the member whose name ends so. */
export function storedMember({ folder, manifest }: StoredBackup, suffix: string): Buffer {
  const member = manifest.members.find(({ name }) => name.endsWith(suffix))
  if (!member) throw new Error(`${manifest.id} has no member ${suffix}`)
  const plain = unpacked(readFileSync(join(folder, member.file)))
  if (createHash('sha256').update(plain).digest('hex') !== member.plain.sha256)
    throw new Error(`${manifest.id}: the SHA-256 of ${member.name} is another one`)
  return plain
}

/** Frame by frame: node:zlib gives back the first one only. */
function unpacked(stored: Buffer): Buffer {
  const frames: Buffer[] = []
  for (let at = 0; at < stored.length; ) {
    const result: unknown = zstdDecompressSync(stored.subarray(at), { info: true })
    const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } } // not in the types
    frames.push(buffer)
    at += engine.bytesWritten
  }
  return Buffer.concat(frames)
}

/** The pages that one commit wrote, and how many the database has after it. */
export interface StoredCommit {
  readonly pageCount: number
  readonly pages: readonly { readonly page: number; readonly hash: Buffer; readonly image: Buffer }[]
}

export interface StoredStep {
  readonly step: Step
  readonly commits: readonly StoredCommit[]
}

export interface StoredChanges {
  readonly pageSize: number
  readonly steps: readonly StoredStep[]
}

const MAGIC = 'taskflow-backup changes 1\n'
const HASH_BYTES = 16
const ENTRY_BYTES = 4 + HASH_BYTES

export function parseChanges(bytes: Buffer): StoredChanges {
  if (bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) throw new Error('No list of changes')
  const jsonAt = MAGIC.length + 4
  const entriesAt = jsonAt + bytes.readUInt32LE(MAGIC.length)
  const head = JSON.parse(bytes.toString('utf8', jsonAt, entriesAt))
  const { pageSize, pages, steps } = head as { pageSize: number; pages: number; steps: readonly Step[] }
  const shaAt = entriesAt + pages * ENTRY_BYTES
  const sha = createHash('sha256').update(bytes.subarray(0, shaAt)).digest()
  if (!sha.equals(bytes.subarray(shaAt, shaAt + sha.length))) throw new Error('The SHA-256 of the index is another one')
  const imagesAt = shaAt + sha.length
  if (bytes.length !== imagesAt + pages * pageSize) throw new Error(`There are ${bytes.length} bytes`)
  let next = 0
  const takePage = () => {
    const entry = entriesAt + next * ENTRY_BYTES
    const image = imagesAt + next * pageSize
    next++
    return {
      page: bytes.readUInt32LE(entry),
      hash: bytes.subarray(entry + 4, entry + ENTRY_BYTES),
      image: bytes.subarray(image, image + pageSize),
    }
  }
  const read = steps.map((step) => ({
    step,
    commits: step.commits.map(([pageCount, written]) => ({
      pageCount,
      pages: Array.from({ length: written }, takePage),
    })),
  }))
  if (next !== pages) throw new Error(`The steps tell ${next} pages, the index ${pages}`)
  return { pageSize, steps: read }
}

/** The bytes of a database, to which commits are added one by one. */
export class Replay {
  readonly pageSize: number
  #bytes: Buffer
  #length: number

  constructor(image: Buffer, pageSize: number) {
    this.pageSize = pageSize
    this.#bytes = Buffer.from(image)
    this.#length = image.length
  }

  /** A view: it changes with the next commit. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  get sha256(): string {
    return createHash('sha256').update(this.bytes).digest('hex')
  }

  page(number: number): Buffer {
    return this.bytes.subarray((number - 1) * this.pageSize, number * this.pageSize)
  }

  add({ pageCount, pages }: StoredCommit): void {
    const length = pageCount * this.pageSize
    if (length > this.#bytes.length) this.#bytes = Buffer.concat([this.bytes], length * 2) // filled with zeros
    if (length > this.#length) this.#bytes.fill(0, this.#length, length)
    this.#length = length
    for (const { page, image } of pages) image.copy(this.#bytes, (page - 1) * this.pageSize)
  }

  /** A copy that SQLite reads without a write-ahead log beside it. */
  readable(): Buffer {
    const copy = Buffer.from(this.bytes)
    copy[18] = 1
    copy[19] = 1
    return copy
  }
}
