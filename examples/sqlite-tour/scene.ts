import { basename, extname, join } from 'node:path'
import { type BackupPlan, defineBackupPlan, directory } from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import type { TourArguments } from './arguments.ts'
import type { Screen } from './screen.ts'

/** What the steps share. */
export interface Scene {
  readonly screen: Screen
  readonly signal: AbortSignal
  readonly folder: string
  /** The database that is backed up. */
  readonly source: string
  /** True when `source` is the user's: it is only read, and only by the library. */
  readonly foreign: boolean
  /** Destination of the backups. */
  readonly backups: string
  readonly plan: BackupPlan
  /** The file that the restore over a live database works on. */
  readonly live: string
  readonly livePlan: BackupPlan
  /** For every verb. */
  readonly verb: { readonly signal: AbortSignal; readonly onEvent: Screen['onEvent'] }
}

export function setScene(args: TourArguments, folder: string, screen: Screen, signal: AbortSignal): Scene {
  const foreign = args.db !== undefined
  const source = args.db ?? join(folder, 'taskmanagement.db')
  const live = foreign ? join(folder, 'live-copy.db') : source
  const backups = join(folder, 'backups')
  const planFor = (file: string): BackupPlan =>
    defineBackupPlan({
      name: planName(source),
      adapter: sqlite({ file }),
      destinations: [{ name: 'backups', storage: directory(backups) }],
    })
  const plan = planFor(source)
  return {
    screen,
    signal,
    folder,
    source,
    foreign,
    backups,
    plan,
    live,
    livePlan: foreign ? planFor(live) : plan,
    verb: { signal, onEvent: screen.onEvent },
  }
}

/** Plans have plain names; files may have any. */
function planName(file: string): string {
  const plain = basename(file, extname(file))
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .slice(0, 60)
    .replace(/^[^A-Za-z0-9]+|[.-]+$/g, '')
  return plain === '' ? 'database' : plain
}
