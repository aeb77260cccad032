import { lstat, open, readdir, rename, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { JsonValue } from '@taskflow-backup/core'

// Names of what a restore puts beside a data directory, and into the folder for temporary files.

/** File in a folder of ours that tells what else has to be put in order when its owner is gone. */
export const RECORD_FILE = 'restore.json'
/** The data directory inside of a staging folder. */
export const DATA = 'data'

/** Folder in which a cluster is built. */
export const stagingFolder = (target: string, random: string): string =>
  join(dirname(target), `${stagingPrefix(target)}${random}`)
export const stagingPrefix = (target: string): string => `.${basename(target)}.restoring-`

/** The data directory that was replaced, for undo. */
export const keptDirectory = (target: string, at: Date, random: string): string =>
  `${target}.before-restore-${at.toISOString().replace(/[-:]/g, '').slice(0, 15)}-${random}`

/** In a staging folder: tablespaces without a place of their own, until they are promoted. */
export const TABLESPACES = 'tablespaces'

/** Where tablespaces go that nobody gave a place. */
export const tablespacesFolder = (target: string, random: string): string => `${target}.tablespaces-${random}`

/** Clusters that are built for a check only. */
export const SCRATCH_PREFIX = 'taskflow-backup-cluster-'
/** Folders for sockets, where the path of a staging folder is too long for one. */
export const SOCKET_PREFIX = 'taskflow-backup-socket-'

/** Folders that tell of a server that is being started on a restored cluster. */
export const STARTING_PREFIX = 'taskflow-backup-starting-'

/** Where a server keeps its socket and its log that is left running on a restored cluster. */
export const startedFolder = (target: string, random: string): string => `${target}.started-${random}`

/** A path of a socket may have 107 bytes on Linux, 103 on macOS; `/.s.PGSQL.5432.lock` comes behind. */
export const MOST_SOCKET_FOLDER_BYTES = 80

/** What has to be put in order when the owner of a staging folder is gone. */
export interface RestoreRecord {
  /** What is being replaced, and where it is kept meanwhile. Between two renames there is nothing at `target`. */
  readonly swap?: { readonly target: string; readonly kept?: string }
  /** Folders outside of the staging folder that hold parts of the new cluster. */
  readonly outside: readonly {
    readonly path: string /** It was there before: only its content is ours. */
    readonly found: boolean
  }[]
}

/** Writes a file of a staging folder at one stroke. */
export async function writeRecord(folder: string, name: string, content: JsonValue | object): Promise<void> {
  const file = join(folder, name)
  await writeFile(`${file}.new`, JSON.stringify(content), { mode: 0o600, flush: true })
  await rename(`${file}.new`, file)
}

/** Makes the names in a folder survive a loss of power. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  )

/** Whether there is nothing at a path, or a folder without content. */
export async function isFree(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  if (!found) return !(await exists(path))
  return found.isDirectory() && (await readdir(path)).length === 0
}
