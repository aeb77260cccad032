import { basename, dirname, join } from 'node:path'

// Names of what a restore puts beside a database.

/** File in a staging folder that tells whose it is. */
export const OWNER_FILE = 'owner.json'

/** Folder in which a database is built. */
export const stagingFolder = (target: string, random: string): string =>
  join(dirname(target), `${stagingPrefix(target)}${random}`)
export const stagingPrefix = (target: string): string => `.${basename(target)}.restoring-`

/** Folder in which the database that was replaced is kept, for undo. */
export const keptFolder = (target: string, at: Date, random: string): string =>
  join(dirname(target), `${keptPrefix(target)}${at.toISOString().replace(/[-:]/g, '').slice(0, 15)}-${random}`)
export const keptPrefix = (target: string): string => `${basename(target)}.before-restore-`
