import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { type Compression, compress, type ManifestMember } from '@taskflow-backup/core'
import * as fc from 'fast-check'
import type { Limit } from '../../src/changes/choose-steps.ts'
import { encodeIndex, type LogMark, type Step } from '../../src/changes/format.ts'
import { HASH_BYTES, hashPage, PageTable } from '../../src/changes/page-table.ts'
import { mergeChanges } from '../../src/child/merge-changes.ts'
import { rebuild } from '../../src/child/rebuild.ts'
import type { MergeFacts, StateOfFile, StoredChanges } from '../../src/jobs.ts'

// Made-up databases: a few small pages that commits write, cut off and add. What a state is can be said by its bytes.

export const PAGE_SIZE = 512
export const START = Date.UTC(2026, 10, 22, 2)

/** A commit: how many pages there are after it, and which get which content. Pages behind the end are left out. */
export interface MadeCommit {
  readonly pageCount: number
  readonly pages: readonly (readonly [page: number, content: number])[]
}

/** What was captured at one look, so many milliseconds after the look before. */
export interface MadeStep {
  readonly waitMs: number
  readonly how: Step['how']
  readonly commits: readonly MadeCommit[]
}

/** A history with everything that it was: the state after each commit, and the steps with their pages. */
export interface History {
  /** The bytes after each commit; the full's first. */
  readonly states: readonly Buffer[]
  readonly steps: readonly WrittenStep[]
}

export interface WrittenStep {
  readonly step: Step
  readonly pages: readonly (readonly [page: number, image: Buffer])[]
}

const arbitraryCommit: fc.Arbitrary<MadeCommit> = fc.record({
  pageCount: fc.integer({ min: 1, max: 12 }),
  // Content 0 is a page of zeros.
  pages: fc.array(fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 3 })), { maxLength: 6 }),
})

export const arbitrarySteps: fc.Arbitrary<MadeStep[]> = fc.array(
  fc.record({
    waitMs: fc.integer({ min: 0, max: 900 }),
    how: fc.constantFrom('log', 'log', 'log', 'comparison'),
    commits: fc.array(arbitraryCommit, { maxLength: 4 }),
  }),
  { minLength: 1, maxLength: 12 },
)

export function imageOf(content: number, page: number): Buffer {
  const image = Buffer.alloc(PAGE_SIZE)
  if (content > 0) for (let at = 0; at < PAGE_SIZE; at += 8) image.writeUInt32LE(content * 1000 + page, at)
  return image
}

export function stateOf(bytes: Buffer): string {
  const table = new PageTable(PAGE_SIZE, bytes.length / PAGE_SIZE)
  for (let page = 1; page <= table.pageCount; page++) {
    table.set(page, hashPage(bytes.subarray((page - 1) * PAGE_SIZE, page * PAGE_SIZE)))
  }
  return table.state
}

/** Plays steps over a full of `pages` pages. A comparison is one commit. */
export function playHistory(made: readonly MadeStep[], pages = 6): History {
  const states = [Buffer.concat(Array.from({ length: pages }, (_, i) => imageOf(1, i + 1)))]
  const steps: WrittenStep[] = []
  let capturedAt = START
  for (const { waitMs, how, commits } of made) {
    const before = states.at(-1) as Buffer
    const firstCommit = states.length
    const played = (how === 'comparison' ? commits.slice(0, 1) : commits).map((commit) => {
      const written = commit.pages.filter(([page]) => page <= commit.pageCount)
      const next = Buffer.alloc(commit.pageCount * PAGE_SIZE)
      ;(states.at(-1) as Buffer).copy(next)
      const images = written.map(([page, content]) => [page, imageOf(content, page)] as const)
      for (const [page, image] of images) image.copy(next, (page - 1) * PAGE_SIZE)
      states.push(next)
      return { pageCount: commit.pageCount, images }
    })
    capturedAt += waitMs
    const step: Step = {
      lookedAt: capturedAt - Math.min(waitMs, 1),
      capturedAt,
      how,
      ...(how === 'comparison' && { reason: 'The write-ahead log was reset since the last backup.' }),
      before: stateOf(before),
      after: stateOf(states.at(-1) as Buffer),
      firstCommit,
      lastCommit: states.length - 1,
      commits: played.map(({ pageCount, images }) => [pageCount, images.length] as const),
    }
    steps.push({ step, pages: played.flatMap(({ images }) => images) })
  }
  return { states, steps }
}

/** The plain content of a member `.changes`. */
export function encodeChanges(steps: readonly WrittenStep[]): Buffer {
  const written = steps.flatMap(({ pages }) => pages)
  const hashes = Buffer.alloc(written.length * HASH_BYTES)
  written.forEach(([, image], i) => void hashes.set(new Uint8Array(hashPage(image).slice().buffer), i * HASH_BYTES))
  const pages = Uint32Array.from(written, ([page]) => page)
  const index = encodeIndex({ pageSize: PAGE_SIZE, steps: steps.map(({ step }) => step), pages, hashes })
  return Buffer.concat([index, ...written.map(([, image]) => image)])
}

/** What a differential holds that was made when the database was in the state `after`. */
export function encodeDifferential(
  before: Buffer,
  after: Buffer,
  capturedAt: number,
  lastCommit: number,
  mark?: LogMark,
): Buffer {
  const pages = pagesBetween(before, after)
  const step: Step = {
    lookedAt: capturedAt,
    capturedAt,
    how: 'comparison',
    before: stateOf(before),
    after: stateOf(after),
    firstCommit: lastCommit + 1,
    lastCommit: lastCommit + 1,
    commits: [[after.length / PAGE_SIZE, pages.length]],
    ...(mark && { mark }),
  }
  return encodeChanges([{ step, pages }])
}

/** A member as a backup has it, with what is stored of it. */
export interface MadeMember {
  readonly member: ManifestMember
  readonly stored: Buffer
}

const NOT_COMPRESSED: Compression = { algorithm: 'none', level: 0 }
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

export async function storeMember(
  name: string,
  plain: Buffer,
  compression: Compression = NOT_COMPRESSED,
): Promise<MadeMember> {
  return memberOf(name, plain, await buffer(Readable.from(compress(Readable.from([plain]), compression))), compression)
}

export function memberOf(name: string, plain: Buffer, stored: Buffer, { algorithm, level }: Compression): MadeMember {
  return {
    member: {
      name,
      file: algorithm === 'none' ? name : `${name}.zst`,
      codecs: algorithm === 'none' ? [] : [{ name: algorithm, level }],
      plain: { bytes: plain.length, sha256: sha256(plain) },
      stored: { bytes: stored.length, sha256: sha256(stored) },
    },
    stored,
  }
}

let files = 0
const newFile = (folder: string): string => join(folder, `made-${files++}`)

/** Rebuilds in this process, as the child does. */
export async function rebuildFrom(
  folder: string,
  full: Buffer,
  changes: readonly { kind: StoredChanges['kind']; plain: Buffer; commit?: number }[],
  limit: Limit = {},
  compression?: Compression,
): Promise<{ bytes: Buffer; result: StateOfFile | null }> {
  const image = await storeMember('made.db', full, compression)
  const members = await Promise.all(changes.map(({ plain }, i) => storeMember(`${i}.changes`, plain, compression)))
  const file = newFile(folder)
  const settings = {
    file,
    pageSize: PAGE_SIZE,
    image: image.member,
    changes: changes.map(({ kind, commit }, i) => ({
      kind,
      member: (members[i] as MadeMember).member,
      ...(commit !== undefined && { commit }),
    })),
    limit,
  }
  const result = await rebuild(settings, Readable.from([image, ...members].map(({ stored }) => stored)))
  return { bytes: readFileSync(file), result }
}

/** Merges in this process, as the child does. */
export async function mergePlain(
  folder: string,
  logs: readonly Buffer[],
  more: { readonly resolutionMs?: number; readonly after?: number } = {},
): Promise<{ plain: Buffer; facts: MergeFacts }> {
  const members = await Promise.all(logs.map((plain, i) => storeMember(`${i}.changes`, plain)))
  const { bytes, facts } = await mergeStored(folder, members, { compression: NOT_COMPRESSED, ...more })
  return { plain: bytes, facts }
}

/** Merges in this process, as the child does; the bytes of the file. */
export async function mergeStored(
  folder: string,
  members: readonly MadeMember[],
  more: { readonly compression: Compression; readonly resolutionMs?: number; readonly after?: number },
  leastFrameBytes?: number,
): Promise<{ bytes: Buffer; facts: MergeFacts }> {
  const file = newFile(folder)
  const facts = await mergeChanges(
    {
      logs: members.map(({ member }) => member),
      after: START,
      file,
      temporaryDirectory: folder,
      ...more,
    },
    Readable.from(members.map(({ stored }) => stored)),
    leastFrameBytes,
  )
  return { bytes: readFileSync(file), facts }
}

/** The steps in as many logs as there are numbers, which say where each is cut. */
export function cutIntoLogs(steps: readonly WrittenStep[], cuts: readonly number[]): WrittenStep[][] {
  const at = [...new Set(cuts.map((cut) => cut % steps.length))].filter((cut) => cut > 0).sort((a, b) => a - b)
  return [0, ...at].map((from, i) => steps.slice(from, at[i]))
}

/** The steps between states that are given by their bytes, of pages of 512 bytes: `perStep` commits at each look. */
export function historyOf(states: readonly Buffer[], perStep: number, waitMs = 1_000): History {
  const steps: WrittenStep[] = []
  for (let first = 1; first < states.length; first += perStep) {
    const last = Math.min(first + perStep, states.length) - 1
    const commits = states
      .slice(first, last + 1)
      .map((after, i) => pagesBetween(states[first + i - 1] as Buffer, after))
    const capturedAt = START + (steps.length + 1) * waitMs
    const step: Step = {
      lookedAt: capturedAt - 1,
      capturedAt,
      how: 'log',
      before: stateOf(states[first - 1] as Buffer),
      after: stateOf(states[last] as Buffer),
      firstCommit: first,
      lastCommit: last,
      commits: commits.map((pages, i) => [(states[first + i] as Buffer).length / PAGE_SIZE, pages.length] as const),
    }
    steps.push({ step, pages: commits.flat() })
  }
  return { states, steps }
}

/** The pages of `after` that `before` has not. */
function pagesBetween(before: Buffer, after: Buffer): (readonly [page: number, image: Buffer])[] {
  const pageCount = after.length / PAGE_SIZE
  return Array.from({ length: pageCount }, (_, i) => i + 1).flatMap((page) => {
    const at = (page - 1) * PAGE_SIZE
    const image = after.subarray(at, at + PAGE_SIZE)
    // A page that is not there yet is one of zeros.
    const old = Buffer.alloc(PAGE_SIZE)
    before.subarray(at).copy(old)
    return image.equals(old) ? [] : [[page, image] as const]
  })
}
