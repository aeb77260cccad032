import { basename } from 'node:path'
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
import type { CheckedOptions } from './options.ts'

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

/** Makes a full backup: one member, the database file as it was at one commit. */
export async function* backupFull(
  options: CheckedOptions,
  { fileStem, compression }: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const job = startJob('image', { ...sourceSettings(options, ctx.temporaryDirectory), compression }, ctx)
  // The child has no other clock than the system's; the plan may have one.
  const skewMs = ctx.now().getTime() - Date.now()
  try {
    yield jobMember(`${fileStem}.db`, job, compression)
    const { database, method, mark, notes, ...image } = await job.result
    const consistentAt = new Date(Date.parse(image.consistentAt) + skewMs)
    return {
      consistentAt,
      position: { end: `${consistentAt.toISOString()}/${mark}` },
      source: toSourceFacts(options.file, database),
      method,
      notes,
    }
  } finally {
    job.kill()
    await job.result.catch(() => {})
  }
}

export function toSourceFacts(file: string, facts: DatabaseFacts): SourceFacts {
  const { sqliteVersion, pageSize, pageCount, ...details } = facts
  return {
    name: basename(file),
    engineVersion: sqliteVersion,
    sizeBytes: pageSize * pageCount,
    details: { pageSize, pageCount, ...details },
  }
}
