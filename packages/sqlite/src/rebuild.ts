import {
  type AdapterContext,
  BackupError,
  type Manifest,
  type ManifestMember,
  type OpenBackup,
} from '@taskflow-backup/core'
import type { Limit } from './changes/choose-steps.ts'
import { startJob } from './child-process.ts'
import { handOn, type StoredMember } from './hand-on.ts'
import type { RebuildSettings, StateOfFile, StoredChanges } from './jobs.ts'
import { CHANGES_SUFFIX, IMAGE_SUFFIX, memberNamed, PAGE_HASHES_SUFFIX } from './members.ts'
import { commitOf } from './position.ts'

/** What a recovery is made of, and how large it gets. */
export interface RebuildParts {
  readonly settings: Omit<RebuildSettings, 'file'>
  readonly stored: readonly StoredMember[]
  readonly largestBytes: number
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

/** The member that a backup of SQLite has. @throws `CONTRACT_BROKEN` */
export function memberOf(manifest: Manifest, suffix: string): ManifestMember {
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
  return handOn(stored, startJob('rebuild', { ...settings, file }, ctx))
}
