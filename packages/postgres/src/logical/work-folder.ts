import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { type AdapterContext, ownIdentity, type ProcessIdentity, toBackupError } from '@taskflow-backup/core'

export const FOLDER_PREFIX = 'taskflow-backup-postgres-'
const OWNER_FILE = 'owner.json'

/** Says in a folder whose it is, and what else a killed process left on the server. */
export interface FolderOwner extends ProcessIdentity {
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

export async function makeWorkFolder(
  ctx: AdapterContext,
  owner: Omit<FolderOwner, keyof ProcessIdentity>,
): Promise<WorkFolder> {
  const path = join(ctx.temporaryDirectory, FOLDER_PREFIX + ctx.randomId(12))
  const remove = (): Promise<void> => fs.rm(path, { recursive: true, force: true, maxRetries: 3 })
  try {
    await fs.mkdir(path, { mode: 0o700 })
    const content: FolderOwner = { ...(await ownIdentity()), ...owner }
    await fs.writeFile(join(path, OWNER_FILE), JSON.stringify(content), { mode: 0o600 })
    return { path, remove }
  } catch (error) {
    await remove()
    throw toBackupError(error, 'TARGET_INVALID', `Cannot make ${path}`, {
      hint: 'Give the plan a `temporaryDirectory` that this process may write to and that has room.',
    })
  }
}

/** Who made a folder; `undefined` when that cannot be read. */
export async function ownerOf(path: string): Promise<FolderOwner | undefined> {
  try {
    return JSON.parse(await fs.readFile(join(path, OWNER_FILE), 'utf8')) as FolderOwner
  } catch {
    return undefined
  }
}
