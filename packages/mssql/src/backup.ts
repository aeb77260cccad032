import {
  type AdapterContext,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Member,
  throwIfAborted,
  toBackupError,
} from '@taskflow-backup/core'
import { assertContinued, assertContinues } from './base.ts'
import { toJson } from './details.ts'
import { type MadeRow, readMade } from './history.ts'
import type { ScannedFile } from './jobs.ts'
import { type LogMark, readMarks } from './marks.ts'
import type { CheckedOptions } from './options.ts'
import { nativeCompression, type SizeEstimate } from './preflight.ts'
import { BackupProgress } from './progress.ts'
import { readClock, readFiles, type ServerClock, toSourceFacts } from './server-facts.ts'
import { inSession, openSession, type SqlSession } from './session.ts'
import { lookFor, type Source } from './source.ts'
import { backupStatement } from './statements/backup.ts'
import { createDelivery, type Delivery } from './transfer/delivery.ts'
import { WORK_ID_LENGTH } from './transfer/names.ts'
import { type UnreadMember, vouchForUnread } from './vouch.ts'
import { lockWork } from './work-lock.ts'

/** How often the server reports. */
const STATS_PERCENT = 1
/** What was left is cleared up for so long, also when the work was aborted. */
const CLEAR_UP_MS = 30_000
const DEFAULT_STRIPE_BYTES = 1_500_000_000
const MOST_STRIPES = 64

/** Lets the server make one backup, and yields what it wrote. */
export async function* backupDatabase(
  options: CheckedOptions,
  request: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const session = await openSession(options, ctx.signal)
  const workId = ctx.randomId(WORK_ID_LENGTH)
  let delivery: Delivery | undefined
  let complete = false
  try {
    await lockWork(session, workId)
    const source = await lookFor(request.kind, session, options, ctx)
    assertContinues(request, source.database, source.permissions)
    const progress = new BackupProgress(ctx, source.estimate?.bytes)
    delivery = createDelivery({
      options,
      request,
      workId,
      stripes: stripesFor(options, source.estimate),
      ctx: { ...ctx, onProgress: progress.read },
    })
    const native = nativeCompression(options, source.server, request.compression.algorithm !== 'none')
    const before = await readClock(session)
    throwIfAborted(ctx.signal)
    await session.run(statementFor(options, request, delivery, native), {
      signal: ctx.signal,
      inactivityMs: options.inactivityTimeoutMs,
      onPercent: (percent) => progress.written(percent),
    })
    const after = await readClock(session)
    const paths = delivery.devices.map(({ path }) => path)
    const made = await readMade(session, { database: source.database.name, name: request.id, paths })
    assertContinued(request, made)
    const files = await readFiles(session, source.database.name)
    const isLog = made.kind === 'log'
    const marks = isLog ? await readMarks(session, { ...made, database: source.database.name }) : undefined
    progress.wrote(made.bytes)
    const scanned = yield* delivery.members({ session, row: made })
    assertSame(scanned, made)
    const { server } = source
    const unread = await vouchForUnread(session, { options, id: request.id, server, delivery, scanned }, ctx)
    const facts = toFacts({ options, request, source, delivery, made, marks, unread, files, before, after })
    complete = true
    return facts
  } finally {
    if (delivery && !(complete && delivery.stays)) await clearUp(options, delivery, session, ctx)
    await session.close()
  }
}

function stripesFor({ stripes, transfer }: CheckedOptions, estimate: SizeEstimate | undefined): number {
  if (transfer.type !== 'read-back') return stripes
  const needed = Math.ceil((estimate?.bytes ?? 0) / (transfer.stripeBytes ?? DEFAULT_STRIPE_BYTES))
  return Math.min(MOST_STRIPES, Math.max(stripes, needed))
}

function statementFor(
  options: CheckedOptions,
  { id, kind }: BackupRequest,
  { devices }: Delivery,
  compression: boolean | undefined,
): string {
  const { transfer, maxTransferSizeBytes, bufferCount, serverEncryption } = options
  return backupStatement({
    what: kind === 'log' ? 'log' : 'database',
    database: options.database,
    devices,
    differential: kind === 'differential',
    copyOnly: kind === 'full' && options.copyOnly,
    checksum: true,
    name: id,
    description: `Made by taskflow-backup as ${id}.`,
    statsPercent: STATS_PERCENT,
    ...(compression !== undefined && { compression }),
    ...(maxTransferSizeBytes !== undefined && { maxTransferSizeBytes }),
    ...(bufferCount !== undefined && { bufferCount }),
    ...(serverEncryption && { encryption: serverEncryption }),
    ...(transfer.type === 'url' && transfer.credential !== undefined && { credential: transfer.credential }),
  })
}

/** Holds what the files say against what the server says; a file that the server compressed says nothing. */
function assertSame(scanned: readonly ScannedFile[], made: MadeRow): void {
  for (const { sets } of scanned) {
    for (const set of sets) {
      const same = set.kind === made.kind && set.firstLsn === made.firstLsn && set.lastLsn === made.lastLsn
      if (same && set.database === made.databaseName) continue
      throw new BackupError(
        'SOURCE_UNREADABLE',
        `The server's file is not the backup that it made: it is a ${set.kind} backup of ${set.database}, from ${set.firstLsn} to ${set.lastLsn}.`,
        { hint: 'Look whether something else writes into the folder.' },
      )
    }
  }
}

interface Results {
  readonly options: CheckedOptions
  readonly request: BackupRequest
  readonly source: Source
  readonly delivery: Delivery
  readonly made: MadeRow
  /** Of a log, where the server tells them. */
  readonly marks: readonly LogMark[] | undefined
  readonly unread: readonly UnreadMember[]
  readonly files: Awaited<ReturnType<typeof readFiles>>
  readonly before: ServerClock
  readonly after: ServerClock
}

function toFacts({
  options,
  request,
  source,
  delivery,
  made,
  marks,
  unread,
  files,
  before,
  after,
}: Results): BackupFacts {
  const { server, database } = source
  const { kind, compression } = request
  const isLog = kind === 'log'
  const native = nativeCompression(options, server, compression.algorithm !== 'none') === true
  const details = toJson({
    mode: 'mssql',
    database: database.name,
    serverName: server.serverName,
    recoveryModel: database.recoveryModel,
    firstLsn: made.firstLsn,
    lastLsn: made.lastLsn,
    checkpointLsn: made.checkpointLsn,
    databaseBackupLsn: made.databaseBackupLsn,
    ...(made.differentialBaseLsn !== undefined && { differentialBaseLsn: made.differentialBaseLsn }),
    ...(made.firstForkGuid !== undefined && { firstForkGuid: made.firstForkGuid }),
    ...(made.lastForkGuid !== undefined && { lastForkGuid: made.lastForkGuid }),
    ...(made.familyGuid !== undefined && { familyGuid: made.familyGuid }),
    utcOffsetMinutesBefore: before.utcOffsetMinutes,
    utcOffsetMinutesAfter: after.utcOffsetMinutes,
    copyOnly: made.isCopyOnly,
    nativeCompression: native,
    ...(options.serverEncryption && { serverCertificate: options.serverEncryption.serverCertificate }),
    ...(isLog && made.hasBulkLoggedData && { bulkLogged: true }),
    ...(marks && { marks }),
    ...(made.collation !== undefined && { collation: made.collation }),
    compatibilityLevel: made.compatibilityLevel,
    transfer: options.transfer.type,
    ...(unread.length > 0 && { unread }),
    ...(delivery.stays && { devices: delivery.devices.map(({ path }) => path) }),
    files,
  })
  return {
    // All that a log holds up to here is in it; nothing that was committed later than this is in another kind.
    consistentAt: isLog ? before.utc : after.utc,
    position: { ...(kind !== 'full' && { begin: made.firstLsn }), end: made.lastLsn },
    source: toSourceFacts(server, database, details),
    method: `backup-${options.transfer.type}`,
    notes: [
      ...(isLog && made.hasBulkLoggedData
        ? ['It has changes that were logged in bulk: it can be restored as a whole, but to no moment inside it.']
        : []),
      ...(isLog && !marks
        ? ['The server did not tell its marked transactions: a restore to a mark looks for it in every log.']
        : []),
      ...unread.map(
        ({ reason }) => `${reason} The server verified it: it may be of a version that our reader does not know.`,
      ),
      ...(delivery.stays
        ? [`The backup itself is on the server: ${delivery.devices.map(({ path }) => path).join(', ')}`]
        : []),
    ],
  }
}

/** Removes the server's files, whatever has happened to the session. What cannot be removed is told. */
async function clearUp(
  options: CheckedOptions,
  delivery: Delivery,
  session: SqlSession,
  ctx: AdapterContext,
): Promise<void> {
  try {
    if (session.broken) await inSession(options, AbortSignal.timeout(CLEAR_UP_MS), (other) => delivery.discard(other))
    else await delivery.discard(session)
  } catch (thrown) {
    const { message, hint } = toBackupError(thrown, 'STORAGE_FAILED', 'It failed')
    const files = delivery.devices.map(({ path }) => path).join(', ')
    ctx.onWarning(`What the server wrote may still be there: ${files}. ${message} ${hint}`)
  }
}
