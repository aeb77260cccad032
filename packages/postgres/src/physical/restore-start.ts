import * as fs from 'node:fs/promises'
import { type AdapterContext, toBackupError, type UndoRecord } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { StagedServer } from '../server/staged-server.ts'
import { clearOutside } from './restore-leftovers.ts'
import type { RestoreRecord } from './restore-places.ts'
import type { RestorePlan } from './restore-plan.ts'
import { failed } from './restore-server.ts'
import { swapBack } from './restore-swap.ts'

/**
 * Starts a server on a cluster in its final place and leaves it running, if the plan says so. Its socket, log and
 * configuration are in a folder of their own, which stays; `note` is the one of `noteStart`, which goes.
 *
 * @throws `PROGRAM_FAILED`, `TARGET_INVALID`, `ABORTED`; then no server runs and the folder is gone
 */
export async function startRestored(
  { physical }: CheckedOptions,
  { chain, dataDirectory, startIn, runAs, program }: RestorePlan,
  note: string,
  ctx: AdapterContext,
): Promise<void> {
  if (startIn === undefined || dataDirectory === undefined || program === undefined) return
  const server = new StagedServer(
    {
      program,
      major: chain.majorVersion,
      dataDirectory,
      folder: startIn,
      socketFolder: startIn,
      runAs,
      settings: {},
      detached: true,
    },
    ctx,
  )
  try {
    await fs.mkdir(startIn, { mode: 0o700 })
    if (runAs) await fs.chown(startIn, runAs.uid, runAs.gid)
    const outcome = await server.start(physical.recoveryTimeoutMs)
    if (!outcome.ready) throw failed(outcome.log)
    // From here on it is the user's.
    await fs.rm(note, { recursive: true })
    server.release()
  } catch (error) {
    await server.quit()
    await fs.rm(startIn, { recursive: true, force: true })
    throw toBackupError(error, 'TARGET_INVALID', `Cannot start the restored cluster in ${startIn}`)
  }
}

/** Takes a promote back, and removes what was promoted: the restore has failed after all. Only warns when that fails. */
export async function takeBack(
  options: CheckedOptions,
  record: UndoRecord,
  outside: RestoreRecord['outside'],
  ctx: AdapterContext,
): Promise<void> {
  try {
    await undoStart(options, record, outside, ctx)
  } catch (error) {
    const before = record.kept === undefined ? '' : `; what was there before is at ${record.kept}`
    ctx.onWarning(`The restored cluster is left at ${record.target}, not running${before}: ${String(error)}`)
  }
}

/**
 * Puts what a promote replaced where it was, and removes what was promoted.
 *
 * @throws as {@link swapBack}
 */
export async function undoStart(
  options: CheckedOptions,
  record: UndoRecord,
  outside: RestoreRecord['outside'],
  ctx: AdapterContext,
): Promise<void> {
  const { kept } = await swapBack(options, record, ctx)
  if (kept !== undefined) await fs.rm(kept, { recursive: true, force: true })
  for (const place of outside) await clearOutside(place)
}
