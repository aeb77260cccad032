import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import {
  type AdapterContext,
  BackupError,
  inOrder,
  type Manifest,
  type ManifestMember,
  type OpenBackup,
  toBackupError,
} from '@taskflow-backup/core'
import type { Limit } from './changes/choose-steps.ts'
import { startJob } from './child-process.ts'
import type { RebuildSettings, StateOfFile, StoredChanges } from './jobs.ts'
import { CHANGES_SUFFIX, IMAGE_SUFFIX, memberNamed, PAGE_HASHES_SUFFIX } from './members.ts'
import { commitOf } from './position.ts'

/** Small members are fetched whole, so many at the same time: a storage far away takes its time for each. */
const SMALL_BYTES = 256 * 1024
const IN_FLIGHT = 16

/** What a recovery is made of, and how large it gets. */
export interface RebuildParts {
  readonly settings: Omit<RebuildSettings, 'file'>
  readonly stored: readonly StoredMember[]
  readonly largestBytes: number
}

interface StoredMember {
  readonly backup: OpenBackup
  readonly member: ManifestMember
}

/**
 * Sorts out what a recovery needs of its backups. `everything`: also what is only there to be checked.
 *
 * @throws `CONTRACT_BROKEN`, `MANIFEST_DAMAGED`
 */
export function partsOf(backups: readonly OpenBackup[], limit: Limit, everything: boolean): RebuildParts {
  const [full, ...later] = backups
  if (full?.manifest.kind !== 'full' || later.some(({ manifest }) => manifest.kind === 'full')) {
    throw new BackupError('CONTRACT_BROKEN', 'A SQLite restore needs exactly one full backup, as the first.')
  }
  const image = memberOf(full.manifest, IMAGE_SUFFIX)
  const pageHashes = everything ? memberNamed(full.manifest, PAGE_HASHES_SUFFIX) : undefined
  const changes = later.map(({ manifest }): StoredChanges => {
    const { kind, position } = manifest
    const member = memberOf(manifest, CHANGES_SUFFIX)
    return kind === 'differential' ? { kind, member, commit: commitOf(position.end) } : { kind: 'log', member }
  })
  return {
    settings: { pageSize: pageSizeOf(full.manifest), image, ...(pageHashes && { pageHashes }), changes, limit },
    stored: [
      { backup: full, member: image },
      ...(pageHashes ? [{ backup: full, member: pageHashes }] : []),
      ...later.map((backup, i) => ({ backup, member: (changes[i] as StoredChanges).member })),
    ],
    largestBytes: Math.max(image.plain.bytes, ...later.map(({ manifest }) => manifest.source.sizeBytes ?? 0)),
  }
}

function memberOf(manifest: Manifest, suffix: string): ManifestMember {
  const member = memberNamed(manifest, suffix)
  if (member) return member
  throw new BackupError('CONTRACT_BROKEN', `${manifest.id} has no member *${suffix}, as a backup of SQLite has.`)
}

function pageSizeOf({ id, source }: Manifest): number {
  const pageSize = source.details?.pageSize
  if (typeof pageSize === 'number' && pageSize >= 512 && pageSize <= 65_536 && (pageSize & (pageSize - 1)) === 0)
    return pageSize
  throw new BackupError('MANIFEST_DAMAGED', `The manifest of ${id} tells no page size.`)
}

/**
 * Lets a child decode and check everything and build the file from it, while this process only hands the stored bytes
 * on. Returns what the file must be, where it was put together from changes.
 */
export async function rebuild(
  file: string,
  { settings, stored }: RebuildParts,
  ctx: AdapterContext,
): Promise<StateOfFile | null> {
  const job = startJob('rebuild', { ...settings, file }, ctx)
  const bytes = Readable.from(storedBytes(stored), { objectMode: false })
  const [sent, built] = await Promise.allSettled([pipeline(bytes, job.channel), job.result])
  // It stops reading where it has enough; what becomes of the bytes behind does not matter.
  if (built.status === 'fulfilled') return built.value
  // A storage that failed is the reason for whatever the child says about what it got.
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  throw toBackupError(built.reason, 'CHILD_FAILED', 'Cannot build the database')
}

/** The stored bytes of all members, one behind the other. */
async function* storedBytes(members: readonly StoredMember[]): AsyncGenerator<Buffer> {
  const bodies = inOrder(members, IN_FLIGHT, async ({ backup, member }) => {
    const open = (): Promise<Readable> => backup.openStored(member.name)
    return member.stored.bytes <= SMALL_BYTES ? exactly(member, await buffer(await open())) : open
  })
  for await (const body of bodies) {
    if (typeof body === 'function') yield* await body()
    else yield body
  }
}

/** One that is too short or too long would shift all that follow. */
function exactly({ file, stored }: ManifestMember, bytes: Buffer): Buffer {
  if (bytes.length === stored.bytes) return bytes
  throw new BackupError(
    'MEMBER_DAMAGED',
    `${file} has ${bytes.length} stored bytes, its manifest says ${stored.bytes}.`,
  )
}
