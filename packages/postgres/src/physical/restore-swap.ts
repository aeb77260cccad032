import * as fs from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  makeOwnedFolder,
  toBackupError,
  type UndoRecord,
} from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { endRunning, refuseRunning } from './restore-in-use.ts'
import { clearStaging, removeLeftoversBeside } from './restore-leftovers.ts'
import {
  exists,
  isFree,
  keptDirectory,
  RECORD_FILE,
  type RestoreRecord,
  stagingFolder,
  syncFolder,
  writeRecord,
} from './restore-places.ts'

const ENGINE = 'postgres'

export interface SwapOptions {
  /** Staging folder, whose record says what to do if this process is killed. */
  readonly folder: string
  /** Complete data directory that takes the place of `target`, in the same file system; absent when nothing shall be there. */
  readonly staged?: string
  readonly target: string
  readonly evenIfInUse: boolean
  readonly outside: RestoreRecord['outside']
  /** Runs before the first rename, and is told what takes the swap back. */
  readonly prepare?: (record: UndoRecord) => Promise<void>
}

/**
 * Puts a data directory into the place of another one and keeps that one beside it.
 *
 * There is no way to exchange two folders at one stroke. Between the two renames there is none at `target`, and both are
 * whole; the record, written before, lets `removeLeftovers` bring the old one back.
 *
 * @throws `DATABASE_IN_USE`, `TARGET_EXISTS`, `TARGET_INVALID`
 */
export async function swapDirectories(
  options: CheckedOptions,
  { folder, staged, target, evenIfInUse, outside, prepare }: SwapOptions,
  ctx: AdapterContext,
): Promise<UndoRecord> {
  const promotedAt = ctx.now()
  const hasOld = !(await isFree(target))
  const kept = hasOld ? keptDirectory(target, promotedAt, ctx.randomId(4)) : undefined
  await writeRecord(folder, RECORD_FILE, { swap: { target, ...(kept && { kept }) }, outside } satisfies RestoreRecord)
  const record: UndoRecord = { engine: ENGINE, target, ...(kept && { kept }), promotedAt: promotedAt.toISOString() }
  await prepare?.(record)
  if (evenIfInUse) await endRunning(target)
  await refuseRunning(options, target)
  try {
    if (kept) await fs.rename(target, kept)
    else if (staged === undefined) await fs.rmdir(target).catch(() => {})
    // An empty folder is replaced by the rename; anything else that came there meanwhile is not.
    if (staged !== undefined) await fs.rename(staged, target)
    await syncFolder(dirname(target))
    // It is done: from here on nothing is to be put in order.
    await fs.rm(join(folder, RECORD_FILE), { force: true })
  } catch (error) {
    if (kept && (await exists(kept)) && !(await exists(target))) await fs.rename(kept, target)
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR')
      throw new BackupError('TARGET_EXISTS', `${target} came to be while its replacement was built.`, { cause: error })
    throw toBackupError(error, 'TARGET_INVALID', `Cannot replace ${target}`)
  }
  return record
}

/**
 * Takes a promote back. What is at the target now is kept in its turn.
 *
 * @throws `UNDO_IMPOSSIBLE`, `DATABASE_IN_USE`
 */
export async function undoRestore(
  options: CheckedOptions,
  record: UndoRecord,
  ctx: AdapterContext,
): Promise<UndoRecord> {
  const { kept, target } = record
  if (kept !== undefined && !(await isDataDirectory(kept)))
    throw new BackupError('UNDO_IMPOSSIBLE', `The kept data directory is not at ${kept} any more.`)
  if (kept === undefined && !(await isDataDirectory(target)))
    throw new BackupError('UNDO_IMPOSSIBLE', `There is no data directory at ${target} any more.`)
  if (kept !== undefined) await refuseRunning(options, kept)
  await removeLeftoversBeside(target, ctx)
  return swapBack(options, record, ctx)
}

/**
 * Puts what a promote replaced, whatever it is, where it was. What was promoted is kept in its turn.
 *
 * @throws as {@link swapDirectories}
 */
export async function swapBack(
  options: CheckedOptions,
  { kept, target }: UndoRecord,
  ctx: AdapterContext,
): Promise<UndoRecord> {
  const folder = stagingFolder(target, ctx.randomId(12))
  await makeOwnedFolder(folder)
  try {
    return await swapDirectories(
      options,
      { folder, ...(kept !== undefined && { staged: kept }), target, evenIfInUse: false, outside: [] },
      ctx,
    )
  } finally {
    await clearStaging(folder, ctx.onWarning)
  }
}

const isDataDirectory = (path: string): Promise<boolean> => exists(join(path, 'PG_VERSION'))
