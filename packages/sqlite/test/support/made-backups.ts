import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import {
  BackupError,
  type BackupKind,
  type Compression,
  decodeMember,
  type Manifest,
  type OpenBackup,
} from '@taskflow-backup/core'
import { encodePageHashesHeader } from '../../src/changes/format.ts'
import { hashPage, PageTable } from '../../src/changes/page-table.ts'
import { positionOf } from '../../src/position.ts'
import { encodeChanges, type MadeMember, PAGE_SIZE, START, storeMember, type WrittenStep } from './history.ts'

// Backups as a plan would hand them to the adapter, without a plan and without a storage.

const CHAIN = '20261122T020000000Z-k3f9'
const ZSTD = { algorithm: 'zstd', level: 3 } as const

export interface MadeBackup extends OpenBackup {
  /** What is stored: may be changed, as a broken disk does. `undefined`: it is not there. */
  readonly stored: Map<string, Buffer | undefined>
}

export async function madeFull(image: Buffer, hashes = hashesOf(image)): Promise<MadeBackup> {
  const members = [await storeMember('tasks.db', image, ZSTD), await storeMember('tasks.pagehashes', hashes, ZSTD)]
  return made('full', 'full', members, { position: { end: positionOf(CHAIN, 0) } })
}

export async function madeLog(
  number: number,
  steps: readonly WrittenStep[],
  compression: Compression = ZSTD,
): Promise<MadeBackup> {
  const [first, last] = [steps[0]?.step, steps.at(-1)?.step]
  return made('log', `${number}-log`, [await storeMember('tasks.changes', encodeChanges(steps), compression)], {
    consistentAt: new Date(last?.capturedAt ?? START).toISOString(),
    position: {
      begin: positionOf(CHAIN, (first?.firstCommit ?? 1) - 1),
      end: positionOf(CHAIN, last?.lastCommit ?? 0),
    },
  })
}

export async function madeDifferential(plain: Buffer, commit: number): Promise<MadeBackup> {
  const member = await storeMember('tasks.changes', plain, ZSTD)
  return made('differential', 'differential', [member], { position: { end: positionOf(CHAIN, commit) } })
}

export function hashesOf(image: Buffer): Buffer {
  const table = new PageTable(PAGE_SIZE, image.length / PAGE_SIZE)
  for (let page = 1; page <= table.pageCount; page++)
    table.set(page, hashPage(image.subarray((page - 1) * PAGE_SIZE, page * PAGE_SIZE)))
  const { pageSize, pageCount, state } = table
  return Buffer.concat([encodePageHashesHeader({ pageSize, pageCount, state }), table.bytes])
}

function made(kind: BackupKind, name: string, members: readonly MadeMember[], more: Partial<Manifest>): MadeBackup {
  const stored = new Map<string, Buffer | undefined>(members.map(({ member, stored }) => [member.name, stored]))
  const manifest: Manifest = {
    formatVersion: 1,
    generator: { name: 'test', version: '0' },
    id: `${CHAIN}/${name}`,
    plan: 'tasks',
    chain: CHAIN,
    kind,
    engine: { name: 'sqlite', version: '3.54.1' },
    startedAt: new Date(START).toISOString(),
    consistentAt: new Date(START).toISOString(),
    finishedAt: new Date(START).toISOString(),
    position: { end: '' },
    members: members.map(({ member }) => member),
    source: { name: 'tasks.db', engineVersion: '3.54.1', details: { pageSize: PAGE_SIZE, tables: 1 } },
    method: 'made',
    notes: [],
    ...more,
  }
  const openStored = async (memberName: string): Promise<Readable> => {
    const bytes = stored.get(memberName)
    if (!bytes) throw new BackupError('OBJECT_MISSING', `${name}/${memberName} is not there.`)
    const pieces = Array.from({ length: Math.ceil(bytes.length / 1000) }, (_, i) =>
      bytes.subarray(i * 1000, (i + 1) * 1000),
    )
    return Readable.from(pieces, { objectMode: false })
  }
  const open = async (memberName: string): Promise<Readable> => {
    const member = members.find(({ member }) => member.name === memberName) as MadeMember
    return decodeMember(member.member, await openStored(memberName), () => {})
  }
  return { manifest, destination: 'made', stored, open, openStored }
}

/** All of a stream. */
export const bytesOf = (body: Readable): Promise<Buffer> => buffer(body)
