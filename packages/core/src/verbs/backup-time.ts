import { readCatalog } from '../catalog.ts'
import { BackupError } from '../errors.ts'
import { manifestKey, newBackupId } from '../layout.ts'
import { ManifestReader } from '../manifest-reader.ts'
import type { BackupPlan } from '../plan.ts'
import type { Start } from './make-backup.ts'
import type { Work } from './run.ts'

/** The clock may be behind by so much before somebody is told. */
const TOLD_MS = 1000

/** When a backup begins, as its id tells. */
export interface BackupTime {
  readonly startedAt: Date
  /** The state that it holds is not from before this. */
  readonly notBefore?: Date
  /** Why that is not what the clock says. */
  readonly note?: string
}

/**
 * Times of backups go on when the clock is put back: the newest backup is the one whose id is last, and a moment is
 * looked for in the newest chain that begins before it.
 */
export async function timeOf({ plan, warn }: Pick<Work, 'plan' | 'warn'>, start: Start): Promise<BackupTime> {
  if (start.startedAt) return { startedAt: start.startedAt }
  const now = plan.runtime.now()
  if (start.kind !== 'full') return { startedAt: await freeTime(plan, start, now) }
  const newest = await newestOf(plan)
  if (!newest) return { startedAt: now }
  const startedAt = later(now, new Date(newest.startedAt.getTime() + 1))
  const notBefore = new Date(newest.consistentAt.getTime() + 1)
  const aheadMs = later(startedAt, notBefore).getTime() - now.getTime()
  if (aheadMs < TOLD_MS) return { startedAt, notBefore }
  const note = `The clock said ${now.toISOString()}, before the newest backup: this one's times follow on that one's.`
  warn(note)
  return { startedAt, notBefore, note }
}

/** The newest backup of all chains. A destination that cannot be listed will be told when it is written to. */
async function newestOf(plan: BackupPlan): Promise<{ startedAt: Date; consistentAt: Date } | undefined> {
  try {
    const { backups } = await readCatalog(plan.name, plan.destinations)
    const newest = backups.at(-1)
    if (!newest) return undefined
    const { startedAt } = newest
    const manifest = await new ManifestReader(plan, () => {}).read(newest).catch(() => undefined)
    return { startedAt, consistentAt: manifest ? new Date(manifest.consistentAt) : startedAt }
  } catch (error) {
    if (error instanceof BackupError) return undefined
    throw error
  }
}

/**
 * A time after the chain's newest backup as it was last seen. Just after each backup there is room for one that is merged
 * of it and others before it.
 */
async function freeTime(plan: BackupPlan, { chain, kind, after }: Start, now: Date): Promise<Date> {
  if (chain === undefined || !after || after < now) return now
  for (let time = after.getTime() + 2; ; time += 2) {
    const key = manifestKey(plan.name, newBackupId(chain, new Date(time), kind))
    const found = await Promise.all(plan.destinations.map(({ storage }) => storage.stat(key).catch(() => undefined)))
    if (found.every((object) => object === undefined)) return new Date(time)
  }
}

export const later = (a: Date, b: Date): Date => (a < b ? b : a)
