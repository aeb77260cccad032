import { rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import {
  type AdapterContext,
  type BackupFacts,
  type BackupRequest,
  jobMember,
  type Member,
  type SourceFacts,
} from '@taskflow-backup/core'
import { startJob } from './child-process.ts'
import type { DatabaseFacts, Jobs } from './jobs.ts'
import { bodyFromFile, makeJobFolder } from './member-from-file.ts'
import { IMAGE_SUFFIX, PAGE_HASHES_SUFFIX } from './members.ts'
import type { CheckedOptions } from './options.ts'
import { positionOf } from './position.ts'

/** The settings with which the child reads the database. */
export function sourceSettings(options: CheckedOptions, temporaryDirectory: string): Jobs['describe']['input'] {
  const { file, busyTimeoutMs, maxWriterBlockMs, releaseAfterMs, image } = options
  return {
    file,
    busyTimeoutMs,
    maxWriterBlockMs,
    releaseAfterMs,
    temporaryDirectory,
    forceOnlineBackup: image === 'online-backup',
  }
}

/** The child has no other clock than the system's; the plan may have one: how far that is ahead, in milliseconds. */
export const skewOf = (ctx: AdapterContext): number => ctx.now().getTime() - Date.now()

/**
 * Makes a full backup: the database file as it was at one commit, and the hash of each of its pages, by which later
 * backups know what changed.
 */
export async function* backupFull(
  options: CheckedOptions,
  { id, fileStem, compression }: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const folder = await makeJobFolder(ctx).catch(() => undefined) // the child says what that means
  const pageHashes = folder === undefined ? null : join(folder, 'pagehashes')
  const job = startJob('image', { ...sourceSettings(options, ctx.temporaryDirectory), compression, pageHashes }, ctx)
  const skewMs = skewOf(ctx)
  try {
    yield jobMember(fileStem + IMAGE_SUFFIX, job, compression)
    const { database, method, mark, state, notes, ...image } = await job.result
    if (state !== undefined && pageHashes !== null) {
      yield { name: fileStem + PAGE_HASHES_SUFFIX, body: bodyFromFile(pageHashes) }
    }
    return {
      consistentAt: new Date(Date.parse(image.consistentAt) + skewMs),
      position: { end: positionOf(id, 0) },
      source: toSourceFacts(options.file, database, { mark, ...(state !== undefined && { state }) }),
      method,
      notes,
    }
  } finally {
    job.kill()
    await job.result.catch(() => {})
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  }
}

/** What a manifest tells of the database; `more` goes into its details. */
export function toSourceFacts(file: string, facts: DatabaseFacts, more: SourceFacts['details'] = {}): SourceFacts {
  const { sqliteVersion, pageSize, pageCount, ...details } = facts
  return {
    name: basename(file),
    engineVersion: sqliteVersion,
    sizeBytes: pageSize * pageCount,
    details: { pageSize, pageCount, ...details, ...more },
  }
}
