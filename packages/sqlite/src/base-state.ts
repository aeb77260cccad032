import { createWriteStream } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import {
  type AdapterContext,
  type BackupBase,
  BackupError,
  inOrder,
  type Manifest,
  type OpenBackup,
} from '@taskflow-backup/core'
import { readIndexBytes } from './changes/format.ts'
import { PieceReader } from './changes/piece-reader.ts'
import { CHANGES_SUFFIX, memberNamed, PAGE_HASHES_SUFFIX } from './members.ts'
import { commitOf } from './position.ts'

/** Indexes of logs that are fetched at the same time. */
const IN_FLIGHT = 8
const BASE_FILE = 'base'

/** What a differential or log backup continues, for the child. */
export interface BaseInput {
  /** The full's page hashes, and behind them the index of each log: written by {@link writeBase}, read by `readBase`. */
  readonly file: string
  /** `PageTable.state` that they must lead to; absent where the manifest does not tell, then the file's own counts. */
  readonly state?: string
  /** Number of the last commit in it. */
  readonly lastCommit: number
  /** The number of the last commit that is in a backup of the chain. */
  readonly newestCommit: number
  /** Milliseconds since 1970 of its state, and of the newest backup of the chain, which no new one may come before. */
  readonly capturedAt: number
  readonly notBefore: number
}

/**
 * Brings what is known of the base's pages into a file in `folder`: of a differential the full's page hashes, of a log
 * the indexes of the chain's logs as well. Only those are read of each member.
 *
 * @throws `BASE_UNUSABLE`, and what storages throw
 */
export async function writeBase(
  base: BackupBase,
  kind: 'differential' | 'log',
  folder: string,
  ctx: Pick<AdapterContext, 'signal'>,
): Promise<BaseInput> {
  const file = join(folder, BASE_FILE)
  const newest = kind === 'log' ? (base.newestLog ?? base.full.manifest) : base.full.manifest
  const state = newest.source.details?.state
  try {
    await writePageHashes(base.full, file, ctx.signal)
    if (kind === 'log' && base.newestLog) {
      for await (const index of inOrder(await base.logs(), IN_FLIGHT, indexOf)) await appendFile(file, index)
    }
  } catch (error) {
    throw unusable(error)
  }
  const capturedAt = timeOf(newest)
  const last = base.newestLog ?? newest
  return {
    file,
    ...(typeof state === 'string' && { state }),
    lastCommit: commitOf(newest.position.end),
    capturedAt,
    newestCommit: commitOf(last.position.end),
    notBefore: Math.max(capturedAt, timeOf(last)),
  }
}

const timeOf = ({ consistentAt }: Manifest): number => Date.parse(consistentAt)

async function writePageHashes(full: OpenBackup, file: string, signal: AbortSignal): Promise<void> {
  const member = memberNamed(full.manifest, PAGE_HASHES_SUFFIX)
  if (!member) {
    throw new BackupError('BASE_UNUSABLE', `The full backup ${full.manifest.id} was stored without page hashes.`)
  }
  await pipeline(await full.open(member.name), createWriteStream(file, { flags: 'wx', mode: 0o600 }), { signal })
}

async function indexOf({ manifest, open }: OpenBackup): Promise<Buffer> {
  const member = memberNamed(manifest, CHANGES_SUFFIX)
  if (!member) throw new BackupError('BASE_UNUSABLE', `The log backup ${manifest.id} has no member ${CHANGES_SUFFIX}.`)
  const body: Readable = await open(member.name)
  try {
    return await readIndexBytes(new PieceReader(body, member.plain.bytes).read)
  } finally {
    body.destroy()
  }
}

/** A chain that cannot be read cannot be continued; a storage that cannot be reached may be there again soon. */
function unusable(error: unknown): unknown {
  if (!(error instanceof BackupError) || !['MEMBER_DAMAGED', 'OBJECT_MISSING', 'CODEC_UNKNOWN'].includes(error.code))
    return error
  return new BackupError('BASE_UNUSABLE', `The backups that this one continues cannot be read. ${error.message}`, {
    cause: error,
  })
}
