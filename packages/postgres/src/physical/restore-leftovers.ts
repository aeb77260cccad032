import * as fs from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type AdapterContext, isAbandonedFolder } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { endProcess, postmastersBelow } from '../server/postmaster.ts'
import {
  DATA,
  exists,
  RECORD_FILE,
  type RestoreRecord,
  SCRATCH_PREFIX,
  SOCKET_PREFIX,
  stagingPrefix,
} from './restore-places.ts'

const QUIT_MS = 5_000

/**
 * Removes what killed restores left of their staging: servers, folders beside the live data directory, and those for
 * checks. A swap that was killed between its two renames is taken back.
 */
export async function removeStagings(
  { physical }: CheckedOptions,
  ctx: Pick<AdapterContext, 'temporaryDirectory' | 'onWarning'>,
): Promise<string[]> {
  const { dataDirectory } = physical
  return [
    ...(dataDirectory === undefined ? [] : await removeLeftoversBeside(dataDirectory, ctx)),
    ...(await removeAbandoned(ctx.temporaryDirectory, [SCRATCH_PREFIX, SOCKET_PREFIX], ctx)),
  ]
}

/** The same, of restores to one place. */
export function removeLeftoversBeside(target: string, ctx: Pick<AdapterContext, 'onWarning'>): Promise<string[]> {
  return removeAbandoned(dirname(target), [stagingPrefix(target)], ctx)
}

async function removeAbandoned(
  parent: string,
  prefixes: readonly string[],
  { onWarning }: Pick<AdapterContext, 'onWarning'>,
): Promise<string[]> {
  const removed: string[] = []
  for (const name of await fs.readdir(parent).catch((): string[] => [])) {
    const folder = join(parent, name)
    if (!prefixes.some((prefix) => name.startsWith(prefix)) || !(await isAbandonedFolder(folder))) continue
    try {
      await clearStaging(folder, onWarning)
      removed.push(folder)
    } catch (error) {
      onWarning(`Could not remove ${folder}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return removed
}

/** Ends what runs in a staging folder, takes a half-done swap back, and removes all that is not live. */
export async function clearStaging(folder: string, onWarning: AdapterContext['onWarning']): Promise<void> {
  const data = join(folder, DATA)
  for (const pid of await postmastersBelow(folder, data)) {
    if (!(await endProcess(pid, 'SIGQUIT', QUIT_MS))) await endProcess(pid, 'SIGKILL', QUIT_MS)
  }
  const record = await readRecord(folder)
  const { target, kept } = record.swap ?? {}
  if (target !== undefined && kept !== undefined && !(await exists(target)) && (await exists(kept))) {
    await fs.rename(kept, target)
    onWarning(`A restore was killed while it replaced ${target}: what was there before is there again.`)
  }
  // Once it is promoted there is no data directory here, and what lies outside belongs to the live one.
  if (!record.swap || (await exists(data))) for (const place of record.outside) await clearOutside(place)
  await remove(folder)
}

async function readRecord(folder: string): Promise<RestoreRecord> {
  try {
    return JSON.parse(await fs.readFile(join(folder, RECORD_FILE), 'utf8')) as RestoreRecord
  } catch {
    return { outside: [] }
  }
}

/** Removes a part of a new cluster that lies outside of its staging folder. */
export async function clearOutside({ path, found }: RestoreRecord['outside'][number]): Promise<void> {
  if (!found) return remove(path)
  for (const name of await fs.readdir(path).catch((): string[] => [])) await remove(join(path, name))
}

/** Tries again: the last process of a server may still be leaving a file behind. */
const remove = (path: string): Promise<void> =>
  fs.rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
