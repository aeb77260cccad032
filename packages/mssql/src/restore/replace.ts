import { type AdapterContext, BackupError, type UndoRecord } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { readFiles, readServer } from '../server-facts.ts'
import type { SqlSession } from '../session.ts'
import { backupStatement } from '../statements/backup.ts'
import { renameDatabaseStatement, singleUserStatement } from '../statements/database.ts'
import type { Device } from '../statements/devices.ts'
import type { DatabaseFactsRow } from '../statements/queries/databases.ts'
import { recoverStatement } from '../statements/restore.ts'
import { onServer } from '../transfer/names.ts'
import { deleteOnServer } from '../transfer/server-files.ts'
import { dropDatabase, giveBackAccess, insist } from './databases.ts'
import { placeNewFiles } from './files.ts'
import { rollForward, type Step } from './roll.ts'
import type { StopPoint } from './stop-point.ts'
import { assertReplaceable, findDatabase, refuseSessions } from './target.ts'
import { REPLACED } from './undo.ts'
import type { RestoreWork } from './work.ts'

export interface ReplaceOrders {
  readonly live: DatabaseFactsRow
  /** The same content, restored and checked beside it. */
  readonly staging: string
  readonly steps: readonly Step[]
  readonly stop?: StopPoint
  readonly overwrite: boolean
  readonly evenIfInUse: boolean
  /** Called when the live database begins to be overwritten. */
  readonly onBegin: () => void
}

/**
 * Backs the tail of the live database's log up, then restores over it, into its own files. When that fails once it has
 * begun, nothing of the old one can be had any more: then the staged database takes its place.
 *
 * @throws `DATABASE_IN_USE`, `BASE_UNUSABLE` when there is no log to back up yet
 */
export async function replaceDatabase(
  options: CheckedOptions,
  work: RestoreWork,
  orders: ReplaceOrders,
  given: AdapterContext,
): Promise<Pick<UndoRecord, 'target' | 'kept' | 'promotedAt'>> {
  const { live, steps, stop, overwrite, evenIfInUse } = orders
  // From here on an abort would leave half of a database.
  const ctx = { ...given, signal: new AbortController().signal }
  const promotedAt = ctx.now()
  const session = await work.session()
  assertReplaceable(live, overwrite)
  if (!evenIfInUse) await refuseSessions(session, live.name)
  const files = await readFiles(session, live.name)
  const placeNew = placeNewFiles(options, await readServer(session), { target: live.name, workId: work.id })
  const tail = live.recoveryModel === 'SIMPLE' ? undefined : tailDevice(options, { live, promotedAt, workId: work.id })
  let begun = false
  try {
    await closeDatabase(session, options, { live, tail, evenIfInUse })
    await rollForward(
      options,
      work,
      {
        database: live.name,
        steps,
        ...(stop && { stop }),
        replace: true,
        place: (file) =>
          files.find(({ logicalName }) => logicalName === file.LogicalName)?.physicalName ?? placeNew(file),
        onBegin: () => {
          begun = true
          orders.onBegin()
        },
      },
      ctx,
    )
    await insist(work, (mended) => giveBackAccess(mended, live.name, live.userAccess))
  } catch (error) {
    if (!begun) await reopen(work, live, tail, ctx)
    if (!begun) throw error
    await takeOver(work, orders, error as Error, ctx)
  }
  if (!tail) ctx.onWarning(`${live.name} has the recovery model SIMPLE: it has no log whose end could be kept.`)
  return { target: live.name, kept: `${REPLACED}${tail?.path ?? ''}`, promotedAt: promotedAt.toISOString() }
}

function tailDevice(
  { transfer }: CheckedOptions,
  { live, promotedAt, workId }: { readonly live: DatabaseFactsRow; readonly promotedAt: Date; readonly workId: string },
): Device {
  const stamp = promotedAt.toISOString().replace(/[-:]|\.\d+/g, '')
  const name = `${live.name.replace(/[^A-Za-z0-9_-]+/g, '_').slice(0, 40)}_taskflow_tail_${stamp}_${workId}.trn`
  return transfer.type === 'url'
    ? { type: 'url', path: `${transfer.url.replace(/\/+$/, '')}/${name}` }
    : { type: 'disk', path: onServer(transfer.serverDirectory, name) }
}

/** Puts everybody out and keeps the end of the log. In one go: once it is RESTORING nobody can come in again. */
async function closeDatabase(
  session: SqlSession,
  { inactivityTimeoutMs, serverEncryption, transfer }: CheckedOptions,
  { live, tail, evenIfInUse }: Pick<ReplaceOrders, 'live' | 'evenIfInUse'> & { readonly tail: Device | undefined },
): Promise<void> {
  const alone = singleUserStatement(live.name, evenIfInUse ? 'rollback' : 'no-wait')
  const statements = tail
    ? [
        alone,
        backupStatement({
          what: 'log',
          tailLog: true,
          database: live.name,
          devices: [tail],
          checksum: true,
          name: 'tail of the log',
          description: 'Made by taskflow-backup before it restored over the database.',
          statsPercent: 1,
          ...(serverEncryption && { encryption: serverEncryption }),
          ...(transfer.type === 'url' && transfer.credential !== undefined && { credential: transfer.credential }),
        }),
      ]
    : [alone]
  await session.run(statements.join(' '), { inactivityMs: inactivityTimeoutMs })
}

/** Nothing was overwritten: opens the live database as it was. */
async function reopen(
  work: RestoreWork,
  live: DatabaseFactsRow,
  tail: Device | undefined,
  { onWarning }: AdapterContext,
): Promise<void> {
  try {
    await insist(work, async (session) => {
      const now = await findDatabase(session, live.name)
      if (now?.state === 'RESTORING') await session.run(recoverStatement(live.name))
      await giveBackAccess(session, live.name, live.userAccess)
    })
    if (tail?.type === 'disk') await deleteOnServer(await work.session(), tail.path)
  } catch (error) {
    onWarning(
      `${live.name} may be left RESTORING or in single-user mode: ${(error as Error).message} RESTORE DATABASE … WITH RECOVERY and ALTER DATABASE … SET MULTI_USER put that right.`,
    )
  }
}

async function takeOver(
  work: RestoreWork,
  { live, staging }: ReplaceOrders,
  error: Error,
  { onWarning }: AdapterContext,
): Promise<void> {
  try {
    await dropDatabase(work, live.name)
    await insist(work, async (session) => {
      if (await findDatabase(session, staging)) await session.run(renameDatabaseStatement(staging, live.name))
    })
  } catch (problem) {
    throw new BackupError('SERVER_FAILED', `${live.name} is half restored: ${error.message}`, {
      cause: problem,
      hint: `Drop it; ${staging} is the same, whole and checked: give it the name. ${(problem as Error).message}`,
    })
  }
  onWarning(
    `${live.name} could not be restored over; the copy that was restored beside it took its place: ${error.message}`,
  )
}
