import { createHash } from 'node:crypto'
import { BackupError } from '@taskflow-backup/core'
import { HASH_BYTES } from './page-table.ts'

// The content of differential and log backups, and of the page hashes beside a full. docs/format.md shows the same byte
// by byte.

/** A place in the write-ahead log: after this frame, with the running checksum that the frame has. */
export interface LogMark {
  /** The two salts of the log's header, 16 hex digits. */
  readonly salts: string
  readonly frame: number
  /** 16 hex digits. */
  readonly checksum: string
}

/** What was captured at one look: everything committed since the look before. */
export interface Step {
  /** The database was looked at between these two moments: milliseconds since 1970. Never before those of the step before. */
  readonly lookedAt: number
  readonly capturedAt: number
  /** `capturedAt` of the look before, which need not be that of the step before: looks that find nothing are no steps. */
  readonly since?: number
  /** `log`: the commits as the write-ahead log had them. `comparison`: the pages that differ, whatever happened to them. */
  readonly how: 'log' | 'comparison'
  /** Why it was compared. */
  readonly reason?: string
  /** `PageTable.state` before and after. */
  readonly before: string
  readonly after: string
  /** Numbers of the first and last commit, counted from 1 after the chain's full; the last is before the first when there was none. */
  readonly firstCommit: number
  readonly lastCommit: number
  /**
   * For each commit in order: pages of the database after it, and how many pages it wrote. One for all of them when
   * they are not told apart any more.
   */
  readonly commits: readonly (readonly [pageCount: number, written: number])[]
  /** Where the write-ahead log was after it; absent where that is not known. */
  readonly mark?: LogMark
}

/** The first part of a member `.changes`: what is in it. */
export interface ChangesIndex {
  readonly pageSize: number
  readonly steps: readonly Step[]
  /** Numbers of all written pages, commit by commit. */
  readonly pages: Uint32Array
  /** The hash of each of them. */
  readonly hashes: Uint8Array
}

/** The first part of a member `.pagehashes`, which lies beside a full. */
export interface PageHashesHeader {
  readonly pageSize: number
  readonly pageCount: number
  readonly state: string
  readonly mark?: LogMark
}

const CHANGES_MAGIC = 'taskflow-backup changes 1\n'
const PAGE_HASHES_MAGIC = 'taskflow-backup page hashes 1\n'
const SHA_BYTES = 32
const ENTRY_BYTES = 4 + HASH_BYTES
/** More than this is no index. */
const MOST_JSON_BYTES = 256 * 1024 * 1024

/** The bytes of an index; the page images follow, in the order of `pages`. */
export function encodeIndex({ pageSize, steps, pages, hashes }: ChangesIndex): Buffer {
  const entries = Buffer.allocUnsafe(pages.length * ENTRY_BYTES)
  for (let i = 0; i < pages.length; i++) {
    entries.writeUInt32LE(pages[i] as number, i * ENTRY_BYTES)
    entries.set(hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES), i * ENTRY_BYTES + 4)
  }
  const head = withHead(CHANGES_MAGIC, { pageSize, pages: pages.length, steps })
  const sha = createHash('sha256').update(head).update(entries).digest()
  return Buffer.concat([head, entries, sha])
}

/** The bytes before the hashes of a member `.pagehashes`. */
export function encodePageHashesHeader(header: PageHashesHeader): Buffer {
  return withHead(PAGE_HASHES_MAGIC, header)
}

function withHead(magic: string, json: object): Buffer {
  const text = Buffer.from(JSON.stringify(json))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  return Buffer.concat([Buffer.from(magic, 'latin1'), length, text])
}

/** Gives exactly so many of the next bytes, or fails. */
export type ReadExactly = (bytes: number) => Promise<Buffer>

/**
 * Reads an index from the begin of a member.
 *
 * @throws `MEMBER_DAMAGED`, and what `read` throws
 */
export async function readIndex(read: ReadExactly): Promise<ChangesIndex> {
  const { head, json } = await readHead(read, CHANGES_MAGIC)
  const { pageSize, pages: count, steps } = checkIndex(json)
  const entries = await read(count * ENTRY_BYTES)
  const sha = createHash('sha256').update(head).update(entries).digest()
  if (!sha.equals(await read(SHA_BYTES))) throw damaged('the SHA-256 of its index is another one')
  const pages = new Uint32Array(count)
  const hashes = Buffer.allocUnsafeSlow(count * HASH_BYTES) // aligned: it is read as words as well
  for (let i = 0; i < count; i++) {
    pages[i] = entries.readUInt32LE(i * ENTRY_BYTES)
    entries.copy(hashes, i * HASH_BYTES, i * ENTRY_BYTES + 4, (i + 1) * ENTRY_BYTES)
  }
  return { pageSize, steps, pages, hashes }
}

/**
 * The bytes of an index from the begin of a member, as {@link readIndex} reads them; their SHA-256 is not looked at.
 *
 * @throws `MEMBER_DAMAGED`, and what `read` throws
 */
export async function readIndexBytes(read: ReadExactly): Promise<Buffer> {
  const { head, json } = await readHead(read, CHANGES_MAGIC)
  const { pages } = checkIndex(json)
  return Buffer.concat([head, await read(pages * ENTRY_BYTES + SHA_BYTES)])
}

/** Reads the begin of a member `.pagehashes`; the hashes follow. @throws `MEMBER_DAMAGED` */
export async function readPageHashesHeader(read: ReadExactly): Promise<PageHashesHeader> {
  const { json } = await readHead(read, PAGE_HASHES_MAGIC)
  const header = json as PageHashesHeader
  if (!isPageSize(header.pageSize) || !isCount(header.pageCount) || !isState(header.state) || !isMark(header.mark))
    throw damaged('its header is none')
  return header
}

async function readHead(read: ReadExactly, magic: string): Promise<{ head: Buffer; json: unknown }> {
  const start = await read(magic.length + 4)
  if (start.toString('latin1', 0, magic.length) !== magic) throw damaged(`it does not begin with "${magic.trim()}"`)
  const length = start.readUInt32LE(magic.length)
  if (length > MOST_JSON_BYTES) throw damaged('its header is too long')
  const text = await read(length)
  try {
    return { head: Buffer.concat([start, text]), json: JSON.parse(text.toString()) }
  } catch (cause) {
    throw damaged('its header is not JSON', cause)
  }
}

function checkIndex(json: unknown): { pageSize: number; pages: number; steps: readonly Step[] } {
  const index = json as { pageSize: number; pages: number; steps: readonly Step[] }
  if (!isPageSize(index?.pageSize) || !isCount(index.pages) || !Array.isArray(index.steps) || index.steps.length === 0)
    throw damaged('its index is none')
  let pages = 0
  for (const step of index.steps) {
    if (!isStep(step)) throw damaged('one of its steps is none')
    for (const [, written] of step.commits) pages += written
  }
  if (pages !== index.pages) throw damaged(`its steps tell ${pages} pages, its index ${index.pages}`)
  return index
}

function isStep(step: Step): boolean {
  return (
    isCount(step?.lookedAt) &&
    isCount(step.capturedAt) &&
    (step.since === undefined || isCount(step.since)) &&
    (step.how === 'log' || step.how === 'comparison') &&
    isState(step.before) &&
    isState(step.after) &&
    isCount(step.firstCommit) &&
    isCount(step.lastCommit) &&
    Array.isArray(step.commits) &&
    step.commits.every((one) => Array.isArray(one) && isCount(one[0]) && isCount(one[1])) &&
    isMark(step.mark)
  )
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
const isState = (value: unknown): boolean => typeof value === 'string' && /^[0-9a-f]{32}$/.test(value)
const isPageSize = (value: unknown): boolean =>
  isCount(value) && value >= 512 && value <= 65_536 && (value & (value - 1)) === 0
const isMark = (mark: LogMark | undefined): boolean =>
  mark === undefined ||
  (/^[0-9a-f]{16}$/.test(mark.salts) && isCount(mark.frame) && /^[0-9a-f]{16}$/.test(mark.checksum))

function damaged(why: string, cause?: unknown): BackupError {
  return new BackupError('MEMBER_DAMAGED', `It is no list of changes that this version reads: ${why}.`, { cause })
}
