import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { type BackupError, toBackupError } from './errors.ts'
import { livenessOf, ownIdentity, type ProcessIdentity } from './process-identity.ts'

const OWNER_FILE = 'owner.json'
/** A folder without an owner gets one within milliseconds. */
const OWNERLESS_MS = 60_000
/** A folder whose owner cannot be asked (another boot, another container) is abandoned when nothing moved for so long. */
const STOOD_STILL_MS = 24 * 3_600_000

/**
 * For adapters: makes a folder with mode 0700 that tells which process it belongs to, in its file `owner.json`, so that
 * {@link isAbandonedFolder} can tell whether a killed process left it. `facts` are written there as well.
 *
 * @throws `TARGET_INVALID`; then nothing of it is left
 */
export async function makeOwnedFolder(path: string, facts: object = {}): Promise<void> {
  try {
    await fs.mkdir(path, { mode: 0o700 })
  } catch (error) {
    throw cannotMake(path, error)
  }
  try {
    const owner = JSON.stringify({ ...facts, ...(await ownIdentity()) })
    // At one stroke: whoever finds the file finds all of it.
    await fs.writeFile(join(path, `${OWNER_FILE}.new`), owner, { mode: 0o600, flush: true })
    await fs.rename(join(path, `${OWNER_FILE}.new`), join(path, OWNER_FILE))
  } catch (error) {
    await fs.rm(path, { recursive: true, force: true })
    throw cannotMake(path, error)
  }
}

const cannotMake = (path: string, error: unknown): BackupError =>
  toBackupError(error, 'TARGET_INVALID', `Cannot make ${path}`, {
    hint: 'Name a folder that this process may write to and that has room; for temporary files it is `temporaryDirectory`.',
  })

/** What `owner.json` in a folder says; `undefined` when there is none, or it cannot be read. */
export async function folderOwner<Facts extends object = object>(
  path: string,
): Promise<(ProcessIdentity & Facts) | undefined> {
  try {
    return (await readOwner(path)) as ProcessIdentity & Facts
  } catch {
    return undefined
  }
}

const readOwner = async (path: string): Promise<ProcessIdentity> =>
  JSON.parse(await fs.readFile(join(path, OWNER_FILE), 'utf8')) as ProcessIdentity

/**
 * For adapters: whether the process that made a folder with {@link makeOwnedFolder} has ended. Where that cannot be
 * known, because it is or was in another container or before a restart of the machine, a folder is abandoned when
 * nothing in it has changed for 24 hours; without an owner, when it is older than a minute. Another user's never is: what
 * it says must not make this process remove anything.
 */
export async function isAbandonedFolder(path: string): Promise<boolean> {
  let owner: ProcessIdentity
  try {
    owner = await readOwner(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return (code === undefined || code === 'ENOENT') && (await isOurs(path)) && isOlderThan(path, OWNERLESS_MS)
  }
  // The folder itself may have been given to the user that a server runs as.
  if (!(await isOurs(join(path, OWNER_FILE)))) return false
  const liveness = await livenessOf(owner)
  if (liveness !== 'unknown') return liveness === 'dead'
  const names = await fs.readdir(path).catch((): string[] => [])
  const still = await Promise.all(['.', ...names].map((name) => isOlderThan(join(path, name), STOOD_STILL_MS)))
  return !still.includes(false)
}

async function isOurs(path: string): Promise<boolean> {
  const found = await fs.lstat(path).catch(() => undefined)
  return found !== undefined && (process.getuid === undefined || found.uid === process.getuid() || found.uid === 0)
}

async function isOlderThan(path: string, ageMs: number): Promise<boolean> {
  const found = await fs.stat(path).catch(() => undefined)
  return found !== undefined && Date.now() - found.mtimeMs > ageMs
}
