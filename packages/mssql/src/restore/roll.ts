import { type AdapterContext, BackupError, type OpenBackup, throwIfAborted } from '@taskflow-backup/core'
import { type MssqlDetails, readDetails } from '../details.ts'
import { serverErrorsOf } from '../errors.ts'
import type { CheckedOptions } from '../options.ts'
import type { SqlSession } from '../session.ts'
import { fileListStatement, recoverStatement, restoreStatement } from '../statements/restore.ts'
import { type FileListRow, type PlaceFile, Placement } from './files.ts'
import type { StopPoint } from './stop-point.ts'
import { describeStop, planStops, type Stop } from './stops.ts'
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
  /** Default: the end of the last backup. */
  readonly stop?: StopPoint
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
 * @throws `MANIFEST_DAMAGED`
 */
export function readSteps(backups: readonly OpenBackup[]): readonly Step[] {
  const steps = backups.map((backup) => ({ backup, details: readDetails(backup.manifest) }))
  if (steps[0]?.backup.manifest.kind !== 'full')
    throw new BackupError('CONTRACT_BROKEN', 'A restore begins with a full backup.')
  return steps
}

/** Restores the backups and opens the database. One backup at a time is in the shared folder. */
export async function rollForward(
  options: CheckedOptions,
  work: RestoreWork,
  orders: RollOrders,
  ctx: AdapterContext,
): Promise<void> {
  const { steps, database, stop: point } = orders
  const stops = planStops(steps, point)
  const placement = new Placement(orders.place)
  const tell = progressOf(steps, ctx)
  for (const [index, { backup }] of steps.entries()) {
    throwIfAborted(ctx.signal)
    const stop = stops(index, ctx.onWarning)
    const supplied = await supply(options, work, backup, ctx)
    try {
      const session = await work.session()
      const statement = await statementFor(session, { orders, supplied, placement, index, stop })
      if (index === 0) orders.onBegin?.()
      await session.run(statement, {
        signal: ctx.signal,
        inactivityMs: options.inactivityTimeoutMs,
        onPercent: (percent) => tell(index, percent),
      })
      // With a stop the server opens the database as soon as that is reached, and not before.
      if (stop && (await findDatabase(session, database))?.state === 'ONLINE') return
    } catch (error) {
      throw explained(error)
    } finally {
      await supplied.remove().catch((problem: Error) => {
        ctx.onWarning(`A file that was put there for the server is left: ${problem.message}`)
      })
    }
  }
  throwIfAborted(ctx.signal)
  if (point && point.kind !== 'time')
    throw new BackupError('POINT_UNREACHABLE', `The server did not find ${describeStop(point)} in these log backups.`, {
      hint: 'Names of marks are compared to the letter. Give `id`, of a log backup that was made after it.',
    })
  await (await work.session()).run(recoverStatement(database), { signal: ctx.signal })
}

interface StatementOrders {
  readonly orders: RollOrders
  readonly supplied: Supplied
  readonly placement: Placement
  readonly index: number
  readonly stop: Stop | undefined
}

async function statementFor(
  session: SqlSession,
  { orders, supplied: { devices, credential }, placement, index, stop }: StatementOrders,
): Promise<string> {
  const files = await session.rows<FileListRow>(
    fileListStatement(devices, { ...(credential !== undefined && { credential }) }),
  )
  return restoreStatement({
    what: orders.steps[index]?.backup.manifest.kind === 'log' ? 'log' : 'database',
    database: orders.database,
    devices,
    moves: placement.movesFor(files),
    recovery: stop ? 'recovery' : 'norecovery',
    replace: orders.replace === true && index === 0,
    checksum: true,
    statsPercent: STATS_PERCENT,
    ...stop,
    ...(credential !== undefined && { credential }),
  })
}

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
