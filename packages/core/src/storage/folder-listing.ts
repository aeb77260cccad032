import { lstat, readdir } from 'node:fs'
import { join } from 'node:path'
import type { ObjectInfo } from '../contracts/storage.ts'
import type { BackupError } from '../errors.ts'
import { inOrder } from '../pipeline/in-order.ts'
import { isMissing, storageError } from './file-errors.ts'
import { isKeySegment } from './key.ts'

// A catalogue of 10,000 backups is 40,000 looks at the disk. With a promise for each of them a listing takes twice as
// long, so there is one for each entry of the topmost folder, and callbacks below.

/** How many entries of the topmost folder are looked at in parallel. */
const LOOK_AHEAD = 16

type Done<T> = (error: BackupError | undefined, found: T) => void

interface Entry {
  readonly name: string
  readonly isFolder: boolean
}

/** Objects below `folder` (a key ending in `/`, or empty) whose next segment begins with `start`, in order of keys. */
export async function* listFolder(root: string, folder: string, start: string): AsyncGenerator<ObjectInfo> {
  const entries = await promised<Entry[]>((done) => readFolder(root, folder, done))
  const wanted = entries.filter(({ name }) => name.startsWith(start))
  const groups = inOrder(wanted, LOOK_AHEAD, (entry) =>
    promised<ObjectInfo[]>((done) => lookAt(root, folder, entry, done)),
  )
  for await (const group of groups) yield* group
}

function promised<T>(work: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    work((error, found) => (error ? reject(error) : resolve(found)))
  })
}

/** Files and folders in `folder`, in order of their keys: a folder's name counts with the `/` behind it. */
function readFolder(root: string, folder: string, done: Done<Entry[]>): void {
  readdir(join(root, folder), { withFileTypes: true }, (error, entries = []) => {
    if (error) return done(isMissing(error) ? undefined : storageError(error, `Cannot list ${folder} in ${root}`), [])
    const found = entries
      // What others put there under names that are no keys could be neither read nor deleted.
      .filter((entry) => (entry.isFile() || entry.isDirectory()) && isKeySegment(entry.name))
      .map((entry) => ({
        name: entry.name,
        isFolder: entry.isDirectory(),
        order: entry.isDirectory() ? `${entry.name}/` : entry.name,
      }))
      .sort((a, b) => (a.order < b.order ? -1 : 1))
    done(undefined, found)
  })
}

/** The file itself, or everything below the folder. */
function lookAt(root: string, folder: string, { name, isFolder }: Entry, done: Done<ObjectInfo[]>): void {
  const key = folder + name
  if (isFolder) {
    readFolder(root, `${key}/`, (error, entries) =>
      error ? done(error, []) : lookAtAll(root, `${key}/`, entries, done),
    )
    return
  }
  lstat(join(root, key), (error, found) => {
    if (!error) return done(undefined, [{ key, sizeBytes: found.size, modifiedAt: found.mtime }])
    // Deleted since its folder was read: not an error.
    done(isMissing(error) ? undefined : storageError(error, `Cannot look at ${key} in ${root}`), [])
  })
}

function lookAtAll(root: string, folder: string, entries: readonly Entry[], done: Done<ObjectInfo[]>): void {
  const results: ObjectInfo[][] = []
  let open = entries.length
  let failure: BackupError | undefined
  if (open === 0) done(undefined, [])
  entries.forEach((entry, index) => {
    lookAt(root, folder, entry, (error, found) => {
      failure ??= error
      results[index] = found
      open -= 1
      if (open === 0) done(failure, results.flat())
    })
  })
}
