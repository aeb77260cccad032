import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

// Names of what is put beside a database, and into the folder for temporary files.

/** Folder in which a database is built. */
export const stagingFolder = (target: string, random: string): string =>
  join(dirname(target), `${stagingPrefix(target)}${random}`)
export const stagingPrefix = (target: string): string => `.${basename(target)}.restoring-`

/** Folder in which the database that was replaced is kept, for undo. */
export const keptFolder = (target: string, at: Date, random: string): string =>
  join(dirname(target), `${keptPrefix(target)}${at.toISOString().replace(/[-:]/g, '').slice(0, 15)}-${random}`)
export const keptPrefix = (target: string): string => `${basename(target)}.before-restore-`

/** Folder for temporary files: databases that are built for a check only. */
export const SCRATCH_PREFIX = 'taskflow-backup-scratch-'
/** Folder for temporary files: copies by SQLite's online backup. */
export const COPY_PREFIX = 'taskflow-backup-copy-'
/** Temporary files that lose their name as soon as they are open. */
export const SPOOL_PREFIX = 'taskflow-backup-spool-'

/** What stays the same under every name of a file; `undefined` when it is not there. Does not open it. */
export async function fileIdentity(file: string): Promise<string | undefined> {
  const found = await stat(file, { bigint: true }).catch(() => undefined)
  return found && `${found.dev}:${found.ino}`
}
