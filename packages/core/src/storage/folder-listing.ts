import { lstat, readdir } from 'node:fs'
import { join } from 'node:path'
import type { ListOptions, ObjectInfo } from '../contracts/storage.ts'
import type { BackupError } from '../errors.ts'
import { inOrder } from '../pipeline/in-order.ts'
import { isMissing, storageError } from './file-errors.ts'
import { isKeySegment } from './key.ts'
import { listInThread } from './listing-thread.ts'

// A catalogue of 10,000 backups is 40,000 looks at the disk, and each costs this thread more than it costs the disk. So
// only the first few objects are looked up from here; if there are more, a thread goes on. With a promise for each look
// the few would take twice as long, so there is one for each entry of the topmost folder, and callbacks below.

/** Most listings, those of locks above all, have fewer and are done before a thread would have started. */
const FEW_OBJECTS = 500
/** How many entries of the topmost folder are looked at in parallel. */
const LOOK_AHEAD = 8

type Done<T> = (error: BackupError | undefined, found: T) => void

/**
 * Objects below `folder` (a key ending in `/`, or empty) whose next segment begins with `start`, in order of keys.
 *
 * @param few after how many objects a thread goes on
 */
export async function* listFolder(
  root: string,
  folder: string,
  start: string,
  { after = '', few = FEW_OBJECTS }: ListOptions & { readonly few?: number } = {},
): AsyncGenerator<ObjectInfo> {
  const all = await promised<string[]>((done) => readFolder(root, folder, start, done))
  // The folder in which `after` would be is listed whole.
  const names = all.filter((name) => folder + name > after || after.startsWith(folder + name))
  let begun = 0
  // A folder has an object in it, or it would have been removed: with many entries the thread goes on from the first.
  let found = names.length > few ? names.length : 0
  function* first(): Generator<string> {
    while (begun < names.length && found < few) yield names[begun++] as string
  }
  for await (const group of inOrder(first(), LOOK_AHEAD, (name) => lookFor(root, folder, name, few))) {
    if (Array.isArray(group)) {
      found += group.length
      yield* group
    } else {
      found += group.names.length
      yield* listMany(root, group.folder, group.names)
    }
  }
  if (begun < names.length) yield* listMany(root, folder, names.slice(begun))
}

/** A folder in which there are many. */
interface Many {
  readonly folder: string
  readonly names: readonly string[]
}

/** What `name` holds; only the names of what is in it when those are more than `few`: a chain has many logs. */
async function lookFor(root: string, folder: string, name: string, few: number): Promise<ObjectInfo[] | Many> {
  if (!name.endsWith('/')) return promised((done) => lookAt(root, folder, name, done))
  const inside = folder + name
  const names = await promised<string[]>((done) => readFolder(root, inside, '', done))
  return names.length > few ? { folder: inside, names } : promised((done) => lookAtAll(root, inside, names, done))
}

/** What each of `names` holds, in their order: in a thread, where there can be one. */
async function* listMany(root: string, folder: string, names: readonly string[]): AsyncGenerator<ObjectInfo> {
  const inThread = listInThread(root, folder, names)
  if (inThread) return yield* inThread
  const look = (name: string): Promise<ObjectInfo[]> => promised((done) => lookAt(root, folder, name, done))
  for await (const group of inOrder(names, LOOK_AHEAD, look)) yield* group
}

function promised<T>(work: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    work((error, found) => (error ? reject(error) : resolve(found)))
  })
}

/**
 * Names of the files and folders in `folder` that begin with `start`, in order of their keys: so a folder's name has the
 * `/` behind it.
 */
function readFolder(root: string, folder: string, start: string, done: Done<string[]>): void {
  readdir(join(root, folder), { withFileTypes: true }, (error, entries = []) => {
    if (error) return done(isMissing(error) ? undefined : storageError(error, `Cannot list ${folder} in ${root}`), [])
    const names = entries
      .filter((entry) => entry.name.startsWith(start))
      // What others put there under names that are no keys could be neither read nor deleted.
      .filter((entry) => (entry.isFile() || entry.isDirectory()) && isKeySegment(entry.name))
      .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
    done(undefined, names.sort())
  })
}

/** The file itself, or everything below the folder. */
function lookAt(root: string, folder: string, name: string, done: Done<ObjectInfo[]>): void {
  const key = folder + name
  if (key.endsWith('/')) {
    readFolder(root, key, '', (error, names) => (error ? done(error, []) : lookAtAll(root, key, names, done)))
    return
  }
  lstat(join(root, key), (error, found) => {
    if (!error) return done(undefined, [{ key, sizeBytes: found.size, modifiedAt: found.mtime }])
    // Deleted since its folder was read: not an error.
    done(isMissing(error) ? undefined : storageError(error, `Cannot look at ${key} in ${root}`), [])
  })
}

function lookAtAll(root: string, folder: string, names: readonly string[], done: Done<ObjectInfo[]>): void {
  const results: ObjectInfo[][] = []
  let open = names.length
  let failure: BackupError | undefined
  if (open === 0) done(undefined, [])
  names.forEach((name, index) => {
    lookAt(root, folder, name, (error, found) => {
      failure ??= error
      results[index] = found
      open -= 1
      if (open === 0) done(failure, results.flat())
    })
  })
}
