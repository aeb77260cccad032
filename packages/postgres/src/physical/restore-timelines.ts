import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { readControlFile } from '../server/control-file.ts'
import type { Owner } from './lay-out-job.ts'
import { historyName } from './segments.ts'

/**
 * The newest timeline that a data directory knows; 0 when it is none of the cluster `systemIdentifier`. What cannot be
 * read, because it is damaged or somebody else's, counts for nothing.
 */
export async function newestTimeline(dataDirectory: string, systemIdentifier: string): Promise<number> {
  const control = await readControlFile(dataDirectory).catch(() => undefined)
  if (control?.systemIdentifier !== systemIdentifier) return 0
  const names = await fs.readdir(join(dataDirectory, 'pg_wal')).catch((): string[] => [])
  const numbers = names.map((name) => Number.parseInt(/^([0-9A-F]{8})\.history$/.exec(name)?.[1] ?? '0', 16))
  return Math.max(control.timeline, ...numbers)
}

/**
 * Lets a recovery begin a timeline later than `newest`: the server takes the first number without a history file. Two
 * restores of one backup would otherwise begin the same timeline, and nobody could tell their logs apart.
 *
 * @returns the files made, to be removed when the cluster has recovered
 */
export async function reserveTimelines(
  dataDirectory: string,
  followed: number,
  newest: number,
  owner: Owner | undefined,
): Promise<string[]> {
  const made: string[] = []
  for (let timeline = followed + 1; timeline <= newest; timeline++) {
    const file = join(dataDirectory, 'pg_wal', historyName(timeline))
    try {
      await fs.writeFile(file, '', { flag: 'wx', mode: 0o600 })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
      throw error
    }
    if (owner) await fs.chown(file, owner.uid, owner.gid)
    made.push(file)
  }
  return made
}
