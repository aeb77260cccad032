import { pipeline } from 'node:stream/promises'
import {
  type AdapterContext,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Member,
  type OpenBackup,
  toBackupError,
} from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import { resolveConnection } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { formatPosition, parseLsn, parsePosition } from '../position.ts'
import { ensureSlot } from './ensure-slot.ts'
import { memberOf } from './member-names.ts'
import { membersOf } from './members.ts'
import { slotRisks } from './preflight.ts'
import { readServer, readSource, type Source, toSourceFacts } from './server-facts.ts'
import { whySlotIsLost } from './slot.ts'
import { whyApart } from './timeline.ts'

/** From this version on the server can tell what changed since a backup. */
const INCREMENTAL_SINCE = 170_000

/** Makes a full: the files of the whole cluster, and the log that makes them consistent. */
export async function* backupFull(
  options: CheckedOptions,
  request: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const settings = await resolveConnection(options.connection)
  const source = await readSource(settings, options, true, ctx.signal)
  const { slot } = options.physical
  if (slot === undefined) return yield* copyCluster({ options, request, source, notes: [] }, ctx)
  const { made, notes: done } = await ensureSlot(settings, slot, source.slot)
  const notes = [...done, ...slotRisks(slot, source)]
  for (const note of notes) ctx.onWarning(note)
  return yield* copyCluster({ options, request, source, notes, details: { slotMade: made } }, ctx)
}

/** Makes a differential: what changed since the chain's full, as the server's own incremental backup. */
export async function* backupDifferential(
  options: CheckedOptions,
  request: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const full = request.base?.full
  if (!full) throw new BackupError('CONTRACT_BROKEN', 'A differential needs a full.')
  const source = await readSource(await resolveConnection(options.connection), options, true, ctx.signal)
  refuseBase(full, source)
  return yield* copyCluster({ options, request, source, notes: [], full }, ctx)
}

function refuseBase({ manifest }: OpenBackup, source: Source): void {
  const unusable = (why: string, hint?: string): BackupError =>
    new BackupError('BASE_UNUSABLE', `No differential can be made: ${why}.`, hint === undefined ? {} : { hint })
  const { details = {} } = manifest.source
  if (source.versionNumber < INCREMENTAL_SINCE)
    throw unusable(`PostgreSQL ${source.version} has no incremental backups; 17 and newer have`)
  if (!source.summarizeWal)
    throw unusable('summarize_wal is off', 'ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf()')
  if (details.mode !== 'physical') throw unusable(`${manifest.id} is no physical backup`)
  if (details.systemIdentifier !== source.systemIdentifier)
    throw unusable(`the server is another cluster than that of ${manifest.id}`)
  if (details.majorVersion !== Math.floor(source.versionNumber / 10_000))
    throw unusable(`${manifest.id} is of another major version`)
  const end = parsePosition(manifest.position.end)
  const apart = whyApart(end, details.history, source.history, source.timeline)
  if (apart !== undefined) throw unusable(`the history of the server does not contain ${manifest.id}: ${apart}`)
  if (end.lsn > source.flushLsn) throw unusable(`the log of the server ends before the end of ${manifest.id}`)
}

interface CopyWork {
  readonly options: CheckedOptions
  readonly request: BackupRequest
  readonly source: Source
  readonly notes: readonly string[]
  /** Set for a differential. */
  readonly full?: OpenBackup
  readonly details?: { readonly slotMade: boolean }
}

async function* copyCluster(
  { options, request, source, notes, full, details }: CopyWork,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const { checkpoint, maxRateKb, serverCompression, slot } = options.physical
  const settings = await resolveConnection(options.connection)
  const manifest = full && memberOf(full.manifest.members, 'backup_manifest')
  const job = startJob(
    'baseBackup',
    {
      settings,
      fileStem: request.fileStem,
      label: `taskflow-backup ${request.id}`,
      compression: request.compression,
      checkpoint,
      serverCompression,
      ...(maxRateKb !== undefined && { maxRateKb }),
      ...(slot === undefined && { temporarySlot: `taskflow_backup_${ctx.randomId(12)}` }),
      ...(manifest && { baseManifestBytes: manifest.plain.bytes }),
    },
    ctx,
  )
  let unsent: unknown
  try {
    if (full && manifest) {
      const content = await full.open(manifest.name)
      // The channel stays open for what the child sends.
      pipeline(content, job.channel, { end: false }).catch((error: unknown) => {
        unsent = error
        job.kill()
      })
    }
    yield* membersOf(job)
    const facts = await job.result
    // Its clock now, when the last byte has been read: nothing in the backup was committed later.
    const after = await readServer(settings, { slot, withSize: false }, ctx.signal)
    const lost = slot === undefined || full ? undefined : whySlotIsLost(slot, after.slot)
    if (lost !== undefined) ctx.onWarning(`${lost} The next log backup has to be a full. Raise max_slot_wal_keep_size.`)
    const end = formatPosition({ timeline: facts.endTimeline, lsn: parseLsn(facts.endLsn) })
    return {
      consistentAt: new Date(after.clock.getTime() + 1), // the clock is cut to milliseconds
      position: full ? { begin: full.manifest.position.end, end } : { end },
      source: toSourceFacts(
        { ...source, sizeBytes: source.sizeBytes ?? facts.fileBytes },
        {
          startLsn: facts.startLsn,
          endLsn: facts.endLsn,
          tablespaces: facts.tablespaces.map(({ oid, path }) => ({ oid, path })),
          databases: source.databases,
          files: facts.files,
          ...details,
        },
      ),
      method: full ? 'incremental-base-backup' : 'base-backup',
      notes: lost === undefined ? notes : [...notes, lost],
    }
  } catch (error) {
    // The base that could not be read is the reason for whatever the child says.
    if (unsent instanceof BackupError) throw unsent
    throw full ? baseUnusable(error) : error
  } finally {
    job.kill()
    await job.result.catch(() => {})
  }
}

/** What the server says when it lacks the summaries of the log that it needs. */
function baseUnusable(thrown: unknown): BackupError {
  const error = toBackupError(thrown, 'SERVER_FAILED', 'The server failed')
  if (
    error.code !== 'SERVER_FAILED' ||
    !/WAL summar|manifest requires|not in this server's history/.test(error.message)
  )
    return error
  return new BackupError('BASE_UNUSABLE', `No differential can be made: ${error.message}`, { cause: error })
}
