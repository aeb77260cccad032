import { Readable } from 'node:stream'
import {
  type AdapterContext,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Manifest,
  type Member,
} from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import { resolveConnection } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { formatLsn, formatPosition, parsePosition, type WalPosition } from '../position.ts'
import { historyMember, walMember } from './member-names.ts'
import { membersOf } from './members.ts'
import { slotRisks } from './preflight.ts'
import { readSource, type Source, toSourceFacts } from './server-facts.ts'
import { whySlotIsLost } from './slot.ts'
import { type Ancestor, parseHistoryDetails, spansBetween, whyApart } from './timeline.ts'

/** A commit takes its time before it is in the log; by so much at most, one may lag behind the server's clock. */
const COMMIT_LAG_MS = 250

/** Makes a log backup: the bytes of the write-ahead log from where the last backup ended to where the log ends now. */
export async function* backupLog(
  options: CheckedOptions,
  request: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const previous = request.base?.previous.manifest
  const { slot } = options.physical
  if (!previous || slot === undefined) throw new BackupError('CONTRACT_BROKEN', 'A log backup needs a base and a slot.')
  const settings = await resolveConnection(options.connection)
  const source = await readSource(settings, options, false, ctx.signal)
  const begin = beginOf(previous, source, slot)
  for (const risk of slotRisks(slot, { ...source, maxSlotWalKeepMb: 0 })) ctx.onWarning(risk)
  const end = { timeline: source.timeline, lsn: source.flushLsn }
  const spans = spansBetween(begin, end, source.history)
  if (spans.every((span) => span.begin === span.end)) {
    yield {
      name: walMember(request.fileStem, { ...end, lsn: begin.lsn }),
      body: Readable.from([], { objectMode: false }),
    }
  } else {
    const job = startJob(
      'wal',
      {
        settings,
        slot,
        systemIdentifier: source.systemIdentifier,
        committed: formatLsn(committedOf(previous, source)),
        spans: spans.map((span) => ({
          timeline: span.timeline,
          begin: formatLsn(span.begin),
          end: formatLsn(span.end),
        })),
        fileStem: request.fileStem,
        compression: request.compression,
      },
      ctx,
    )
    try {
      yield* membersOf(job)
      await job.result
    } finally {
      job.kill()
      await job.result.catch(() => {})
    }
  }
  for (const { timeline, content } of source.historyFiles) {
    yield {
      name: historyMember(request.fileStem, timeline),
      body: Readable.from([Buffer.from(content)], { objectMode: false }),
    }
  }
  return {
    consistentAt: consistentAtOf(previous, source),
    position: { begin: formatPosition(begin), end: formatPosition(end) },
    source: toSourceFacts(source),
    method: 'wal',
    notes: [],
  }
}

/**
 * Where the log has to go on: where our own archive ends, whatever the server thinks.
 *
 * @throws `BASE_UNUSABLE` when the server cannot go on there
 */
function beginOf(previous: Manifest, source: Source, slotName: string): WalPosition {
  const unusable = (why: string): BackupError =>
    new BackupError('BASE_UNUSABLE', `The log cannot be continued: ${why}`, {
      hint: 'Make a full backup; it begins a new chain.',
    })
  const { details = {} } = previous.source
  if (details.mode !== 'physical') throw unusable(`${previous.id} is no physical backup.`)
  if (details.systemIdentifier !== source.systemIdentifier)
    throw unusable(`The server is another cluster than that of ${previous.id}.`)
  const end = parsePosition(previous.position.end)
  const apart = whyApart(end, details.history, source.history, source.timeline)
  if (apart !== undefined) throw unusable(`The history of the server went another way: ${apart}.`)
  const lost = whySlotIsLost(slotName, source.slot)
  if (lost !== undefined) throw unusable(lost)
  if (end.lsn > source.flushLsn)
    throw unusable(`The log of the server ends at ${formatLsn(source.flushLsn)}, before ${formatLsn(end.lsn)}.`)
  const restart = source.slot?.restartLsn
  // What was committed between the last log of the old chain and this full is in no backup yet.
  if (restart !== undefined && restart < end.lsn && continuesOlderChain(previous))
    return { timeline: timelineAt(restart, source), lsn: restart }
  return end
}

/** Up to here everything is in backups that are committed; the slot need not keep it. Never before where it stands. */
function committedOf(previous: Manifest, { slot }: Source): bigint {
  const restart = slot?.restartLsn ?? 0n
  const { lsn } = parsePosition(previous.position.end)
  // With an older chain there may be log before the full's end that only this backup is going to hold.
  return continuesOlderChain(previous) || lsn < restart ? restart : lsn
}

/** Whether the slot was there before this full, and keeps the log since an older chain's last backup. */
const continuesOlderChain = ({ kind, source }: Manifest): boolean =>
  kind === 'full' && source.details?.slotMade !== true

const timelineAt = (lsn: bigint, { history, timeline }: Source): number =>
  history.find(({ leftAt }) => lsn < leftAt)?.timeline ?? timeline

/** Every commit up to this moment of the server's clock is inside. */
function consistentAtOf(previous: Manifest, { clock }: Source): Date {
  return new Date(Math.max(Date.parse(previous.consistentAt), clock.getTime() - COMMIT_LAG_MS))
}

/** Whether a log of a later chain goes on where `before` ends: same cluster, and the place lies on the log's history. */
export function followsLog(log: Manifest, before: Manifest): boolean {
  const [later, earlier] = [log.source.details ?? {}, before.source.details ?? {}]
  if (later.mode !== 'physical' || later.systemIdentifier !== earlier.systemIdentifier) return false
  const history: Ancestor[] | undefined = parseHistoryDetails(later.history)
  if (!history || typeof later.timeline !== 'number') return false
  return whyApart(parsePosition(before.position.end), earlier.history, history, later.timeline) === undefined
}
