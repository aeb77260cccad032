import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { type AdapterContext, makeOwnedFolder } from '@taskflow-backup/core'

export const FOLDER_PREFIX = 'taskflow-backup-postgres-'

/** Says in a folder what else a killed process left on the server. */
export interface FolderFacts {
  /** Name under which its programs are connected to the server. */
  readonly applicationName: string
  /** Server for which the names are, as `host:port`. */
  readonly server: string
  /** The database that it was about to make; its own mark comes a moment after it was made. */
  readonly staging?: string
}

/** A folder for temporary files of one backup or restore: 0700, and told apart from those of others. */
export interface WorkFolder {
  readonly path: string
  /** Changes nothing when it is gone already. */
  remove(): Promise<void>
}

export async function makeWorkFolder(ctx: AdapterContext, owner: FolderFacts): Promise<WorkFolder> {
  const path = join(ctx.temporaryDirectory, FOLDER_PREFIX + ctx.randomId(12))
  const remove = (): Promise<void> => fs.rm(path, { recursive: true, force: true, maxRetries: 3 })
  await makeOwnedFolder(path, owner)
  return { path, remove }
}
