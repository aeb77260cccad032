import { setTimeout as sleep } from 'node:timers/promises'
import { type AdapterContext, BackupError, type UndoRecord } from '@taskflow-backup/core'
import { ENGINE } from '../engine-name.ts'
import type { CheckedOptions } from '../options.ts'
import type { SqlSession } from '../session.ts'
import { lockWork } from '../work-lock.ts'
import { isDatabaseName, parseKeptName } from './names.ts'
import { swapDatabases } from './swap.ts'
import { RestoreWork } from './work.ts'

/** In an undo record, instead of the name of a kept database: it was restored over, and this file has its last log. */
export const REPLACED = 'replaced-in-place:'

/** Takes a promote back. What has the name now is kept in its turn. */
export async function undoRestore(
  options: CheckedOptions,
  { target, kept }: UndoRecord,
  ctx: AdapterContext,
): Promise<UndoRecord> {
  if (kept?.startsWith(REPLACED)) {
    const tail = kept.slice(REPLACED.length)
    throw new BackupError('UNDO_IMPOSSIBLE', `${target} was restored in place: nothing of what it was is kept there.`, {
      hint:
        tail === ''
          ? 'Restore the newest backup from before.'
          : `Restore the newest backups from before WITH NORECOVERY, then the end of its log from ${tail}.`,
    })
  }
  if (![target, kept ?? target].every(isDatabaseName))
    throw new BackupError('UNDO_IMPOSSIBLE', 'The record names no database that there could be.')
  const work = await RestoreWork.begin(options, ctx)
  try {
    // What is left of this undo is found by the name of the database that it brings back.
    const own = kept === undefined ? undefined : parseKeptName(kept)
    if (own) await lockOnceFree(await work.session(), own.workId)
    const orders = { incoming: kept, target, overwrite: true, evenIfInUse: false, isOurs: false }
    return { engine: ENGINE, ...(await swapDatabases(work, orders, ctx)) }
  } finally {
    await work.end()
  }
}

const LOCK_ROUNDS = 20
const LOCK_ROUND_MS = 50

/** The restore that gave the name may have ended a moment ago: the server lets go of its lock when it notices. */
async function lockOnceFree(session: SqlSession, workId: string): Promise<void> {
  for (let round = 1; ; round++) {
    try {
      return await lockWork(session, workId)
    } catch (error) {
      if (round === LOCK_ROUNDS || session.broken) throw error
      await sleep(LOCK_ROUND_MS)
    }
  }
}
