import * as fs from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { livenessOf, type ProcessIdentity } from '@taskflow-backup/core'
import { keptPrefix, OWNER_FILE, stagingPrefix } from './places.ts'

/**
 * Removes what killed restores left beside a database: staging folders whose process has ended, and a second name of
 * the live file that was made just before the swap that never came.
 */
export async function removeLeftovers(file: string): Promise<string[]> {
  const target = await fs.realpath(file).catch(() => file)
  const folder = dirname(target)
  const names = await fs.readdir(folder).catch((): string[] => [])
  const removed: string[] = []
  for (const name of names) {
    const path = join(folder, name)
    const dead =
      (name.startsWith(stagingPrefix(target)) && (await isAbandoned(path))) ||
      (name.startsWith(keptPrefix(target)) && (await isNeverSwapped(path, target)))
    if (!dead) continue
    await fs.rm(path, { recursive: true, force: true })
    removed.push(path)
  }
  return removed
}

async function isAbandoned(folder: string): Promise<boolean> {
  try {
    const owner = JSON.parse(await fs.readFile(join(folder, OWNER_FILE), 'utf8')) as ProcessIdentity
    return (await livenessOf(owner)) === 'dead'
  } catch {
    // Killed before it could say whose it is; a live one says so within milliseconds.
    const made = await fs.stat(folder).catch(() => undefined)
    return made !== undefined && Date.now() - made.mtimeMs > 60_000
  }
}

async function isNeverSwapped(folder: string, target: string): Promise<boolean> {
  const [kept, live] = await Promise.all([
    fs.stat(join(folder, basename(target))).catch(() => undefined),
    fs.stat(target).catch(() => undefined),
  ])
  if (!live) return false
  if (!kept) return (await fs.readdir(folder).catch(() => ['unknown'])).length === 0
  return kept.ino === live.ino && kept.dev === live.dev
}
