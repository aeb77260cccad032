import { type AdapterContext, BackupError, type OpenBackup, throwIfAborted } from '@taskflow-backup/core'
import { type MssqlDetails, readDetails } from '../details.ts'
import { serverErrorsOf } from '../errors.ts'
import type { CheckedOptions } from '../options.ts'
import { type OffsetSample, stopTime } from '../server-time.ts'
import type { SqlSession } from '../session.ts'
import { fileListStatement, recoverStatement, restoreStatement } from '../statements/restore.ts'
import { type FileListRow, type PlaceFile, Placement } from './files.ts'
import { type Supplied, supply } from './supply.ts'
import { findDatabase } from './target.ts'
import type { RestoreWork } from './work.ts'

const STATS_PERCENT = 1
/** "The specified STOPAT time is too early." */
const STOP_TOO_EARLY = 4335

/** What is to be restored, and into which database. */
export interface RollOrders {
  readonly database: string
  readonly steps: readonly Step[]
  readonly at?: Date
  readonly place: PlaceFile
  /** Over a database that is there. */
  readonly replace?: boolean
  /** Called before the server is told to restore the first backup. */
  readonly onBegin?: () => void
}

/** One backup of those that are restored one after another: a full, and what follows on it. */
export interface Step {
  readonly backup: OpenBackup
  readonly details: MssqlDetails
}

/**
 * Reads what the manifests tell, before anything is made.
 *
 * @throws `MANIFEST_DAMAGED`, `POINT_UNREACHABLE` for a moment inside of a log that can be restored as a whole only
 */
export function readSteps(backups: readonly OpenBackup[], at: Date | undefined): readonly Step[] {
  const steps = backups.map((backup) => ({ backup, details: readDetails(backup.manifest) }))
  const last = steps.at(-1)
  if (!last || steps[0]?.backup.manifest.kind !== 'full')
    throw new BackupError('CONTRACT_BROKEN', 'A restore begins with a full backup.')
  if (at && last.details.bulkLogged)
    throw new BackupError(
      'POINT_UNREACHABLE',
      `${last.backup.manifest.id} has changes that were logged in bulk: no restore can stop inside it.`,
      { hint: 'Restore to the end of that log, or of the one before, by their ids.' },
    )
  return steps
}

/** Restores the backups and opens the database. One backup at a time is in the shared folder. */
export async function rollForward(
  options: CheckedOptions,
  work: RestoreWork,
  orders: RollOrders,
  ctx: AdapterContext,
): Promise<void> {
  const { steps, database } = orders
  const placement = new Placement(orders.place)
  const tell = progressOf(steps, ctx)
  for (const [index, { backup }] of steps.entries()) {
    throwIfAborted(ctx.signal)
    const stopAt = stopFor(orders, index, ctx)
    const supplied = await supply(options, work, backup, ctx)
    try {
      const session = await work.session()
      const statement = await statementFor(session, { orders, supplied, placement, index, stopAt })
      if (index === 0) orders.onBegin?.()
      await session.run(statement, {
        signal: ctx.signal,
        inactivityMs: options.inactivityTimeoutMs,
        onPercent: (percent) => tell(index, percent),
      })
      // With STOPAT the server opens the database as soon as the moment is reached, and not before.
      if (stopAt !== undefined && (await findDatabase(session, database))?.state === 'ONLINE') return
    } catch (error) {
      throw explained(error)
    } finally {
      await supplied.remove().catch((problem: Error) => {
        ctx.onWarning(`A file that was put there for the server is left: ${problem.message}`)
      })
    }
  }
  throwIfAborted(ctx.signal)
  await (await work.session()).run(recoverStatement(database), { signal: ctx.signal })
}

interface StatementOrders {
  readonly orders: RollOrders
  readonly supplied: Supplied
  readonly placement: Placement
  readonly index: number
  readonly stopAt: string | undefined
}

async function statementFor(
  session: SqlSession,
  { orders, supplied: { devices, credential }, placement, index, stopAt }: StatementOrders,
): Promise<string> {
  const files = await session.rows<FileListRow>(
    fileListStatement(devices, { ...(credential !== undefined && { credential }) }),
  )
  return restoreStatement({
    what: orders.steps[index]?.backup.manifest.kind === 'log' ? 'log' : 'database',
    database: orders.database,
    devices,
    moves: placement.movesFor(files),
    recovery: stopAt === undefined ? 'norecovery' : 'recovery',
    replace: orders.replace === true && index === 0,
    checksum: true,
    statsPercent: STATS_PERCENT,
    ...(stopAt !== undefined && { stopAt }),
    ...(credential !== undefined && { credential }),
  })
}

/**
 * Local time at which the restore of a backup is to stop; `undefined` for one that is restored as a whole. Every log has
 * one: also one that ends before the moment may hold what was committed after it, while it was being backed up.
 */
function stopFor({ steps, at }: RollOrders, index: number, { onWarning }: AdapterContext): string | undefined {
  const [before, own] = [steps[index - 1], steps[index]]
  // Of a log with bulk changes the server refuses any stop.
  if (!at || !before || own?.backup.manifest.kind !== 'log' || own.details.bulkLogged) return undefined
  const [earlier, later] = [clockAfter(before), clockAfter(own)]
  if (at.getTime() >= later.at) {
    // All that it held at its end is wanted, whatever the clock showed: the later of the two times leaves nothing out.
    const whole = earlier.offsetMinutes > later.offsetMinutes ? earlier : later
    return stopTime(at.getTime(), whole, whole).stopAt
  }
  const { stopAt, isExact } = stopTime(at.getTime(), earlier, later)
  if (!isExact)
    onWarning(
      'The clock of the server was changed within the log that holds the moment: the restore may stop up to that change too early.',
    )
  return stopAt
}

const clockAfter = ({ backup, details }: Step): OffsetSample => ({
  at: Date.parse(backup.manifest.consistentAt),
  offsetMinutes: details.utcOffsetMinutesAfter,
})

function explained(error: unknown): unknown {
  if (!serverErrorsOf(error).some(({ number }) => number === STOP_TOO_EARLY)) return error
  const { message } = error as BackupError
  return new BackupError('POINT_UNREACHABLE', message, {
    cause: error,
    hint: 'Ask for a later moment: the backups before the log hold later changes, or the clock of the server was changed.',
  })
}

/** Counts the server's share of the work in bytes of the backups. */
function progressOf(steps: readonly Step[], { onProgress }: AdapterContext): (index: number, percent: number) => void {
  const sizes = steps.map(({ backup }) => backup.manifest.members.reduce((sum, { plain }) => sum + plain.bytes, 0))
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0)
  return (index, percent) => {
    const before = sizes.slice(0, index).reduce((sum, size) => sum + size, 0)
    onProgress({ bytes: before + Math.round(((sizes[index] ?? 0) * percent) / 100), totalBytes })
  }
}
