import { BackupError, type LogSource } from '@taskflow-backup/core'
import { type MemberSettings, writeBackup } from './ledger-backup.ts'
import type { LedgerDatabases } from './ledger-databases.ts'
import { type LedgerEntry, type LedgerPosition, parsePosition } from './ledger-format.ts'

/** The engine, as one who follows its log sees it. */
export interface FollowedLedger extends Pick<MemberSettings, 'entriesPerMember'> {
  readonly databases: Pick<LedgerDatabases, 'live'>
  now(): Date
}

export interface LedgerFollower {
  readonly source: LogSource
  /** Ends it as a crash would. */
  kill(): void
}

/** Follows the log of a ledger from `since` on: the smallest `LogSource` that keeps all promises. */
export function ledgerFollower(
  engine: FollowedLedger,
  since: LedgerPosition,
  everyMs: number,
  onEnd: () => void,
): LedgerFollower {
  const { timeline } = since
  const settings = { entriesPerMember: engine.entriesPerMember }
  /** Everything up to here is committed; `captured` is what follows. */
  let begin = since.sequence
  let captured: LedgerEntry[] = []
  let pendingSince = 0
  let lookedAt = engine.now()
  let lookedMs = performance.now()
  let unusable: BackupError | undefined
  let over: BackupError | undefined
  /** Waits in `pending`. */
  let waiting: { found(): void; fail(error: BackupError): void } | undefined
  let crash: (error: BackupError) => void = () => {}
  const ended = new Promise<void>((_, reject) => {
    crash = reject
  })
  ended.catch(() => {}) // whoever wants to, listens

  const look = (): void => {
    lookedAt = engine.now()
    lookedMs = performance.now()
    const database = engine.databases.live()
    if (database.timeline !== timeline) unusable = new BackupError('BASE_UNUSABLE', 'The ledger was restored.')
    else {
      const added = database.entries.slice(begin + captured.length)
      if (captured.length === 0) pendingSince = lookedMs
      captured.push(...added)
    }
    if (isPending()) waiting?.found()
  }
  const isPending = (): boolean => captured.length > 0 || unusable !== undefined
  const assertAlive = (): void => {
    if (over) throw over
  }
  const end = (error: BackupError): void => {
    if (over) return
    over = error
    clearInterval(timer)
    waiting?.fail(error)
    onEnd()
  }
  const timer = setInterval(look, everyMs)
  look()

  const source: LogSource = {
    ended,
    async pending(waitMs) {
      assertAlive()
      if (waitMs === 0) look()
      if (isPending() || waitMs === 0) return isPending()
      return new Promise((resolve, reject) => {
        const done = (settle: () => void): void => {
          clearTimeout(late)
          waiting = undefined
          settle()
        }
        const late = setTimeout(() => done(() => resolve(false)), waitMs)
        waiting = { found: () => done(() => resolve(true)), fail: (error) => done(() => reject(error)) }
      })
    },
    async *backup(request, ctx, until) {
      assertAlive()
      if (unusable) throw unusable
      const full = until && parsePosition(until.position.end)
      if (!full || full.timeline !== timeline) {
        const content = { timeline, begin, entries: captured.slice(), consistentAt: lookedAt }
        return yield* writeBackup(request, ctx, content, settings)
      }
      look()
      const entries = captured.filter(({ sequence }) => sequence <= full.sequence)
      const content = { timeline, begin, entries, consistentAt: new Date(until.consistentAt) }
      return yield* writeBackup(request, ctx, content, settings)
    },
    async committed({ position }) {
      assertAlive()
      begin = Math.max(begin, parsePosition(position.end).sequence)
      captured = captured.filter(({ sequence }) => sequence > begin)
    },
    async continueFrom({ full }) {
      assertAlive()
      const start = parsePosition(full.manifest.position.end)
      if (start.timeline !== timeline) throw new BackupError('BASE_UNUSABLE', 'The ledger was restored.')
      begin = start.sequence
      captured = []
      look()
    },
    async status() {
      assertAlive()
      const nowMs = performance.now()
      return {
        pendingBytes: captured.reduce((sum, { text }) => sum + text.length, 0),
        pendingMs: captured.length > 0 ? nowMs - pendingSince : 0,
        logBytes: engine.databases.live().entries.length,
        capturedMsAgo: nowMs - lookedMs,
      }
    },
    async close() {
      end(new BackupError('ABORTED', 'The log is not followed any more.'))
    },
  }
  return {
    source,
    kill() {
      const error = new BackupError('CHILD_FAILED', 'Killed on purpose.')
      end(error)
      crash(error)
    },
  }
}
