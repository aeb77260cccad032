import { createReadStream, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { decodeMember, type Manifest } from '@taskflow-backup/core'
import { type ChangesIndex, readIndex, type Step } from '../../src/changes/format.ts'
import { hashPage, PageTable } from '../../src/changes/page-table.ts'
import { PieceReader } from '../../src/changes/piece-reader.ts'
import { memberNamed } from '../../src/members.ts'
import type { Place } from './place.ts'

export interface DecodedChanges {
  readonly index: ChangesIndex
  /** All page images, one behind the other. */
  readonly images: Buffer
}

/** A member `.changes`, decoded. */
export async function decodeChanges(plain: Buffer): Promise<DecodedChanges> {
  const reader = new PieceReader(Readable.from([plain]), plain.length)
  const index = await readIndex(reader.read)
  return { index, images: await reader.read(reader.left) }
}

/** What a database of these bytes is after the changes: the plainest way to say what they mean. */
export function applyChanges(image: Buffer, { index, images }: DecodedChanges): Buffer {
  const { pageSize, steps, pages } = index
  let result = image
  let entry = 0
  for (const [pageCount, written] of steps.flatMap(({ commits }) => commits)) {
    const next = Buffer.alloc(pageCount * pageSize)
    result.copy(next)
    for (let i = 0; i < written; i++, entry++) {
      images.copy(next, ((pages[entry] as number) - 1) * pageSize, entry * pageSize, (entry + 1) * pageSize)
    }
    result = next
  }
  return result
}

export const decodeChangesFile = (file: string): Promise<DecodedChanges> => decodeChanges(readFileSync(file))

/** A step, with what a test does not care about filled in. */
export const step = (more: Partial<Omit<Step, 'commits'>> = {}): Omit<Step, 'commits'> => ({
  lookedAt: 1_000,
  capturedAt: 2_000,
  how: 'comparison',
  before: '0'.repeat(32),
  after: '1'.repeat(32),
  firstCommit: 1,
  lastCommit: 1,
  ...more,
})

/** The table of an image, made in one go. */
export function tableOf(image: Buffer, pageSize: number): PageTable {
  const table = new PageTable(pageSize, image.length / pageSize)
  for (let page = 1; page <= table.pageCount; page++) {
    table.set(page, hashPage(image.subarray((page - 1) * pageSize, page * pageSize)))
  }
  return table
}

/** Plain content of the member of a backup of `place` whose name ends so. */
export async function readMember(place: Place, manifest: Manifest, suffix: string): Promise<Buffer> {
  const member = memberNamed(manifest, suffix)
  if (!member) throw new Error(`${manifest.id} has no member ${suffix}.`)
  const path = join(place.backups, manifest.plan, manifest.id, member.file)
  return buffer(decodeMember(member, createReadStream(path), () => {}))
}
