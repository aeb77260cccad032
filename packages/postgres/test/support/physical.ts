import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer, json } from 'node:stream/consumers'
import {
  type BackupAdapter,
  type BackupKind,
  type BackupPlan,
  type BackupPlanOptions,
  type BackupResult,
  type CreateBackupOptions,
  createBackup,
  decodeMember,
  defineBackupPlan,
  type Manifest,
  memory,
  type Storage,
} from '@taskflow-backup/core'
import { type PhysicalOptions, type PostgresConnection, postgres } from '../../src/index.ts'
import { parsePosition, type WalPosition } from '../../src/position.ts'
import type { TestServer } from './server.ts'

export interface PhysicalSite {
  readonly adapter: BackupAdapter
  readonly storage: Storage
  readonly plan: BackupPlan
  planWith(options: Partial<BackupPlanOptions>): BackupPlan
  backup(kind?: BackupKind, options?: CreateBackupOptions): Promise<BackupResult>
  /** Of all stored objects. */
  keys(): Promise<string[]>
}

/** A plan of physical backups of `server` into a memory of its own. */
export function physicalSite(
  server: TestServer,
  physical: PhysicalOptions = {},
  connection: PostgresConnection = server.connection(),
): PhysicalSite {
  const adapter = postgres({ connection, mode: 'physical', physical })
  const storage = memory()
  const planWith = (options: Partial<BackupPlanOptions>): BackupPlan =>
    defineBackupPlan({ name: 'cluster', adapter, destinations: [storage], strictKinds: true, ...options })
  const plan = planWith({})
  const keys = async (): Promise<string[]> => {
    const found: string[] = []
    for await (const { key } of storage.list('')) found.push(key)
    return found
  }
  return {
    adapter,
    storage,
    plan,
    planWith,
    backup: (kind = 'full', more) => createBackup(plan, { kind, ...more }),
    keys,
  }
}

/** Plain content of all members of a backup, checked against its manifest, by the end of their names. */
export async function plainMembers({ storage, plan }: PhysicalSite, id: string): Promise<Map<string, Buffer>> {
  const read = (file: string): Promise<Readable> => storage.get(`${plan.name}/${id}/${file}`)
  const manifest = (await json(await read('manifest.json'))) as Manifest
  const members = new Map<string, Buffer>()
  for (const member of manifest.members) {
    const content = await buffer(decodeMember(member, await read(member.file), () => {}))
    members.set(member.name.slice(member.name.indexOf('.') + 1), content)
  }
  return members
}

/** Walsenders that are connected, and temporary slots: what a backup that is over must not leave. */
export async function leftOnServer(server: TestServer): Promise<string[]> {
  const rows = await server.sql<{ what: string }>(`
    SELECT 'walsender ' || pid AS what FROM pg_stat_activity WHERE backend_type = 'walsender'
    UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE temporary OR active`)
  return rows.map(({ what }) => what)
}

const SEGMENT_BYTES = 16 * 1024 * 1024

/** The name of the segment that holds a place, as PostgreSQL's own files are called. */
export function segmentName({ timeline, lsn }: WalPosition): string {
  const number = lsn / BigInt(SEGMENT_BYTES)
  return [timeline, number / 256n, number % 256n]
    .map((part) => part.toString(16).toUpperCase().padStart(8, '0'))
    .join('')
}

/** Log from `begin` on, read from the server's own files. */
export async function readLog(server: TestServer, { timeline, lsn }: WalPosition, bytes: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  const size = BigInt(SEGMENT_BYTES)
  for (let at = lsn; at < lsn + BigInt(bytes); at = (at / size + 1n) * size) {
    const segment = await readFile(join(server.dataDirectory, 'pg_wal', segmentName({ timeline, lsn: at })))
    pieces.push(segment.subarray(Number(at % size)))
  }
  return Buffer.concat(pieces).subarray(0, bytes)
}

/** What the server itself has of the log that a backup holds, which lies on one timeline. */
export function logOnDisk(server: TestServer, { position }: Manifest): Promise<Buffer> {
  const begin = parsePosition(position.begin as string)
  return readLog(server, begin, Number(parsePosition(position.end).lsn - begin.lsn))
}
