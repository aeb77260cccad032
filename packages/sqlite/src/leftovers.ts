import * as fs from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type AdapterContext, isAbandonedFolder } from '@taskflow-backup/core'
import { COPY_PREFIX, fileIdentity, keptPrefix, SCRATCH_PREFIX, SPOOL_PREFIX, stagingPrefix } from './places.ts'

/** A spool loses its name within milliseconds. */
const NAMED_MS = 60_000

/**
 * Removes what killed processes left: staging folders beside the database, a second name of the live file that was made
 * just before the swap that never came, and temporary copies. Only what belongs to a process that has ended.
 */
export async function removeLeftovers(
  file: string,
  { temporaryDirectory, onWarning }: AdapterContext,
): Promise<string[]> {
  const target = await fs.realpath(file).catch(() => file)
  const isDead = async (path: string, name: string): Promise<boolean> => {
    if (name.startsWith(stagingPrefix(target))) return isAbandonedFolder(path)
    if (name.startsWith(keptPrefix(target))) return isNeverSwapped(path, target, onWarning)
    return false
  }
  const isDeadCopy = async (path: string, name: string): Promise<boolean> => {
    if (name.startsWith(SCRATCH_PREFIX) || name.startsWith(COPY_PREFIX)) return isAbandonedFolder(path)
    return name.startsWith(SPOOL_PREFIX) && (await isOlderThan(path, NAMED_MS))
  }
  return [
    ...(await removeFrom(dirname(target), isDead, onWarning)),
    ...(await removeFrom(temporaryDirectory, isDeadCopy, onWarning)),
  ]
}

async function removeFrom(
  folder: string,
  isDead: (path: string, name: string) => Promise<boolean>,
  onWarning: AdapterContext['onWarning'],
): Promise<string[]> {
  const removed: string[] = []
  for (const name of await fs.readdir(folder).catch((): string[] => [])) {
    const path = join(folder, name)
    if (!(await isDead(path, name))) continue
    try {
      await fs.rm(path, { recursive: true, force: true })
      removed.push(path)
    } catch (error) {
      onWarning(`Could not remove ${path}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return removed
}

async function isOlderThan(path: string, ageMs: number): Promise<boolean> {
  const found = await fs.stat(path).catch(() => undefined)
  return found !== undefined && Date.now() - found.mtimeMs > ageMs
}

async function isNeverSwapped(
  folder: string,
  target: string,
  onWarning: AdapterContext['onWarning'],
): Promise<boolean> {
  const names = await fs.readdir(folder).catch(() => ['unknown'])
  if (names.length === 0) return (await fileIdentity(target)) !== undefined
  const kept = await fileIdentity(join(folder, basename(target)))
  if (kept === undefined || kept !== (await fileIdentity(target))) return false
  for (const name of names) {
    if ((await fileIdentity(join(folder, name))) === (await fileIdentity(join(dirname(target), name)))) continue
    onWarning(
      `${join(folder, name)} belongs to the live database: a restore was killed just before it replaced both. Keep it.`,
    )
    return false
  }
  return true
}
