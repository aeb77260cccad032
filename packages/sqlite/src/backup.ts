import { basename } from 'node:path'
import { Readable } from 'node:stream'
import type { AdapterContext, BackupFacts, BackupRequest, Member, SourceFacts } from '@taskflow-backup/core'
import { startJob } from './child-process.ts'
import type { DatabaseFacts, ImageFacts, Jobs } from './jobs.ts'
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
  let facts: ImageFacts | undefined
  async function* body(): AsyncGenerator<Buffer> {
    yield* job.channel as AsyncIterable<Buffer>
    // The output ends in every case; only a result says that it ended where it should.
    facts = await job.result
  }
  try {
    const { algorithm, level } = compression
    yield {
      name: `${fileStem}.db`,
      body: Readable.from(body(), { objectMode: false, highWaterMark: 1024 * 1024 }),
      encoded: {
        codecs: algorithm === 'none' ? [] : [{ name: algorithm, level }],
        plain: () => (facts as ImageFacts).plain,
        stored: () => (facts as ImageFacts).stored,
      },
    }
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
