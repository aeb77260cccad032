import {
  type AdapterContext,
  abortError,
  type BackupAdapter,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Finding,
  type Member,
  type OpenBackup,
  type RestoreRequest,
  type StagedRestore,
} from '@taskflow-backup/core'
import { membersOf, writeBackup } from './ledger-backup.ts'
import { ENGINE, type LedgerDatabases, LIVE } from './ledger-databases.ts'
import { type LedgerFollower, ledgerFollower } from './ledger-follow.ts'
import { type LedgerEntry, type LedgerPosition, parsePosition, readMember } from './ledger-format.ts'
import { mergeLogs, rollForward } from './ledger-logs.ts'

/** The engine, as its adapter sees it. */
export interface LedgerEngine {
  readonly databases: LedgerDatabases
  /** Those who follow the log now. */
  readonly followers: Set<LedgerFollower>
  readonly entriesPerMember: number
  readonly pointInTime: true | 'captured'
  now(): Date
  /** Whether the backup that begins now has to fail. */
  fails(): boolean
}

/** Backs up and restores the databases of a ledger. */
export function ledgerAdapter(engine: LedgerEngine): BackupAdapter {
  const { databases, followers, entriesPerMember, now } = engine
  /** End of the newest log that was seen to be committed: the log of the next chain goes on there. */
  let logged: LedgerPosition | undefined

  async function* backup(request: BackupRequest, ctx: AdapterContext): AsyncGenerator<Member, BackupFacts, void> {
    const { timeline, entries, logFloor } = databases.live()
    const previous = request.kind === 'log' ? request.base?.previous.manifest : undefined
    if (previous?.kind === 'log') logged = parsePosition(previous.position.end)
    const since = beginOf(request, { timeline, sequence: entries.length }, logFloor)
    const begin = previous && logged?.timeline === timeline ? Math.min(since, logged.sequence) : since
    const settings = { entriesPerMember, fails: engine.fails() }
    const content = { timeline, begin, entries: entries.slice(begin), consistentAt: now() }
    return yield* writeBackup(request, ctx, content, settings)
  }

  async function* merge(
    logs: readonly OpenBackup[],
    request: BackupRequest & { readonly resolutionMs?: number },
    ctx: AdapterContext,
  ): AsyncGenerator<Member, BackupFacts, void> {
    const { written, facts } = await mergeLogs(logs, request.resolutionMs)
    yield* membersOf(request, ctx, written, { entriesPerMember })
    return facts
  }

  async function restore({ backups, target, at }: RestoreRequest, ctx: AdapterContext): Promise<StagedRestore> {
    const place = target.kind === 'place' ? target.to : LIVE
    if (typeof place !== 'string' || place === '')
      throw new BackupError('TARGET_INVALID', 'The place of a ledger is its name.')
    if (target.kind === 'place' && !target.overwrite && databases.at(place)) {
      throw new BackupError('TARGET_EXISTS', `There is a ledger "${place}" already.`)
    }
    const { entries, timeline } = await rollForward(backups, at, ctx.signal)
    ctx.signal.throwIfAborted()
    const location = databases.stage(place, { timeline, entries, logFloor: 0 })
    return {
      location,
      check: async () => findProblems(entries),
      async promote() {
        if (target.kind === 'scratch')
          throw new BackupError('CONTRACT_BROKEN', 'A restore for a check is never promoted.')
        return databases.promote(location, place)
      },
      discard: async () => databases.remove(location),
    }
  }

  return {
    engine: ENGINE,
    kinds: ['full', 'differential', 'log'],
    pointInTime: engine.pointInTime,
    async describe() {
      const { entries } = databases.live()
      return {
        name: LIVE,
        engineVersion: '1',
        sizeBytes: JSON.stringify(entries).length,
        details: { entries: entries.length },
      }
    },
    backup,
    async follow(base, { everyMs }, ctx) {
      const since = parsePosition((base.newestLog ?? base.full.manifest).position.end)
      const { timeline, entries, logFloor } = databases.live()
      beginAfter(since, { timeline, sequence: entries.length }, logFloor)
      const follower = ledgerFollower(engine, since, everyMs, () => followers.delete(follower))
      followers.add(follower)
      ctx.signal.addEventListener('abort', () => void follower.source.close(), { once: true })
      return follower.source
    },
    merge,
    restore: (request, ctx) =>
      restore(request, ctx).catch((error: unknown) => {
        throw ctx.signal.aborted ? abortError(ctx.signal) : error
      }),
    undo: async ({ target, kept }) => databases.undo(target, kept),
    async inspect({ body }) {
      const { entries } = await readMember(body)
      return findProblems(entries)
    },
    comparePositions(a, b) {
      const [left, right] = [parsePosition(a), parsePosition(b)]
      return left.timeline - right.timeline || left.sequence - right.sequence
    },
    follows: (log, before) => parsePosition(log.position.end).timeline === parsePosition(before.position.end).timeline,
    async removeLeftovers() {
      const staged = databases.places().filter((place) => place.includes('.staged-'))
      for (const place of staged) databases.remove(place)
      return staged
    },
  }
}

/** After which entry a backup begins. */
function beginOf(request: BackupRequest, current: LedgerPosition, logFloor: number): number {
  if (request.kind === 'full' || !request.base) return 0
  const { full, previous } = request.base
  const start = parsePosition((request.kind === 'differential' ? full : previous).manifest.position.end)
  return beginAfter(start, current, request.kind === 'log' ? logFloor : 0)
}

/** @throws `BASE_UNUSABLE` when the log no longer goes on after `start` */
function beginAfter(start: LedgerPosition, current: LedgerPosition, logFloor: number): number {
  if (start.timeline !== current.timeline || start.sequence > current.sequence) {
    throw new BackupError('BASE_UNUSABLE', 'The ledger was restored since the last backup.')
  }
  if (start.sequence < logFloor) {
    throw new BackupError('BASE_UNUSABLE', 'The log since the last backup is gone.')
  }
  return start.sequence
}

function findProblems(entries: readonly LedgerEntry[]): Finding[] {
  const first = entries[0]?.sequence ?? 1
  const gap = entries.findIndex(({ sequence }, index) => sequence !== first + index)
  if (gap < 0) return [{ check: 'sequence', severity: 'ok', message: 'The entries have no gap.' }]
  return [
    { check: 'sequence', severity: 'error', message: `Entry ${entries[gap]?.sequence} is not where it should be.` },
  ]
}
