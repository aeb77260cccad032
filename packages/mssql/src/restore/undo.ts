import { type AdapterContext, BackupError, type UndoRecord } from '@taskflow-backup/core'
import { ENGINE } from '../engine-name.ts'
import type { CheckedOptions } from '../options.ts'
import { isDatabaseName } from './names.ts'
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
    const orders = { incoming: kept, target, overwrite: true, evenIfInUse: false, isOurs: false }
    return { engine: ENGINE, ...(await swapDatabases(work, orders, ctx)) }
  } finally {
    await work.end()
  }
}
