import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'
import { Readable } from 'node:stream'
import type { GetOptions, PutOptions, Storage } from '../contracts/storage.ts'
import { BackupError, throwIfAborted } from '../errors.ts'
import { PARTIAL_SUFFIX } from '../layout.ts'
import { LentBody } from '../pipeline/lent-body.ts'
import { bodyPieces, release } from './body.ts'
import { errnoOf, isMissing, storageError } from './file-errors.ts'
import { listFolder } from './folder-listing.ts'
import { makeFolders, removeEmptyFolders, syncFolder } from './folders.ts'
import { gatherWrites, writeAll } from './gather-writes.ts'
import { assertKey, assertPrefix } from './key.ts'

/** After so many bytes the disk begins to take them, while more are written. */
const SYNC_BYTES = 64 * 1024 * 1024
/** What is read into memory that is used again. */
const READ_BYTES = 256 * 1024
/** What is read for somebody who gets copies: the larger those, the more of them pile up before V8 looks for garbage. */
const COPY_BYTES = 16 * 1024
/** Up to this length an object is read at once: a stream that reads piece by piece costs more than the reading. */
const AT_ONCE_BYTES = 256 * 1024

/**
 * Keeps objects as files below the folder `path`, which is made when it is first written to: a disk, a mounted share,
 * a removable drive.
 *
 * Files get mode 0600 and folders 0700. A put writes a temporary file, checks its length, flushes it to the disk,
 * renames it and flushes its folder. Relative paths count from the working directory at the time of this call.
 *
 * @example
 * ```ts
 * import { mkdtemp } from 'node:fs/promises'
 * import { directory } from '@taskflow-backup/core'
 *
 * const storage = directory(await mkdtemp('/tmp/backups-'))
 * await storage.put('a/b.txt', new TextEncoder().encode('hello'))
 * for await (const object of storage.list('a/')) console.log(object.key, object.sizeBytes) // a/b.txt 5
 * ```
 */
export function directory(path: string): Storage {
  const root = resolve(path)
  const fileOf = (key: string): string => root + sep + (sep === '/' ? key : key.replaceAll('/', sep))

  return {
    capabilities: { conditionalPut: true, readOnly: false },

    async put(key, body, { signal, ifAbsent, durable = true }: PutOptions = {}) {
      const file = fileOf(key)
      const partial = `${file}.${randomBytes(6).toString('hex')}${PARTIAL_SUFFIX}`
      // One that fails while its file is still being opened has nobody else who listens; reading it tells the error.
      if (body instanceof Readable) body.on('error', () => {})
      try {
        assertKey(key)
        throwIfAborted(signal)
        const handle = await openPartial(partial, root)
        let bytes = 0
        let syncedBytes = 0
        let syncing = Promise.resolve()
        try {
          for await (const pieces of gatherWrites(bodyPieces(body, signal))) {
            bytes += await writeAll(handle, pieces)
            if (bytes - syncedBytes < SYNC_BYTES) continue
            await syncing
            syncing = handle.datasync()
            syncing.catch(() => {}) // thrown where it is awaited
            syncedBytes = bytes
          }
          await syncing
          const { size } = await handle.stat()
          if (size !== bytes) {
            throw new BackupError('STORED_SIZE_MISMATCH', `${file} has ${size} bytes on disk, ${bytes} were written.`)
          }
          if (durable) await handle.sync()
        } finally {
          await syncing.catch(() => {})
          await handle.close()
        }
        if (ifAbsent) await moveIfAbsent(partial, file, key)
        else await fs.rename(partial, file)
        if (durable) await syncFolder(dirname(file))
        return { bytes }
      } catch (error) {
        if (error instanceof BackupError && error.code === 'KEY_INVALID') throw error
        await fs.rm(partial, { force: true }).catch(() => {})
        throw storageError(error, `Cannot store ${key} in ${root}`)
      } finally {
        release(body)
      }
    },

    async get(key, { signal, range }: GetOptions = {}) {
      assertKey(key)
      throwIfAborted(signal)
      let handle: fs.FileHandle
      try {
        handle = await fs.open(fileOf(key), 'r')
      } catch (error) {
        throw isMissing(error) ? missing(key) : storageError(error, `Cannot read ${key} in ${root}`)
      }
      const { offset = 0, length = Number.POSITIVE_INFINITY } = range ?? {}
      const what = `Cannot read ${key} in ${root}`
      let small: Buffer | undefined
      try {
        const found = await handle.stat()
        if (!found.isFile()) throw missing(key)
        const bytes = Math.max(0, Math.min(found.size - offset, length))
        if (bytes <= AT_ONCE_BYTES) small = await readSmall(handle, offset, bytes)
      } catch (error) {
        await handle.close()
        throw storageError(error, what)
      }
      if (small) {
        await handle.close()
        const body = new Readable({ read: () => {} })
        if (small.length > 0) body.push(small)
        body.push(null)
        return body
      }
      const pieceBytes = (): number => (body.isLent ? READ_BYTES : COPY_BYTES)
      const body: LentBody = new LentBody(readPieces(handle, pieceBytes, offset, length, signal, what), 4 * COPY_BYTES)
      // A body that is destroyed before it was read never enters its generator.
      return body.once('close', () => void handle.close().catch(() => {}))
    },

    async stat(key) {
      assertKey(key)
      try {
        const found = await fs.stat(fileOf(key))
        return found.isFile() ? { key, sizeBytes: found.size, modifiedAt: found.mtime } : undefined
      } catch (error) {
        if (isMissing(error)) return undefined
        throw storageError(error, `Cannot look at ${key} in ${root}`)
      }
    },

    async *list(prefix, options) {
      assertPrefix(prefix)
      const slash = prefix.lastIndexOf('/')
      yield* listFolder(root, prefix.slice(0, slash + 1), prefix.slice(slash + 1), options)
    },

    async delete(key) {
      assertKey(key)
      const file = fileOf(key)
      try {
        await fs.unlink(file)
      } catch (error) {
        // Where a folder is, there is no object of that name.
        if (!isMissing(error) && !(await isFolder(file))) throw storageError(error, `Cannot delete ${key} in ${root}`)
      }
      await removeEmptyFolders(dirname(file), root)
    },

    describe: () => `directory ${root}`,
  }
}

async function openPartial(file: string, root: string): Promise<fs.FileHandle> {
  const open = () => fs.open(file, 'wx', 0o600)
  try {
    return await open()
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  // A delete beside us may remove an empty folder between these two steps: try again.
  for (let attempt = 1; ; attempt++) {
    await makeFolders(dirname(file), root)
    try {
      return await open()
    } catch (error) {
      if (!isMissing(error) || attempt === 5) throw error
    }
  }
}

async function moveIfAbsent(partial: string, file: string, key: string): Promise<void> {
  try {
    await fs.link(partial, file)
    await fs.unlink(partial)
  } catch (error) {
    const code = errnoOf(error)
    if (code === 'EEXIST') throw new BackupError('KEY_EXISTS', `There is an object at ${key} already.`)
    // File systems without hard links (FAT, some shares): look, then rename.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS' && code !== 'EOPNOTSUPP') throw error
    const exists = await fs.stat(file).then(
      () => true,
      () => false,
    )
    if (exists) throw new BackupError('KEY_EXISTS', `There is an object at ${key} already.`)
    await fs.rename(partial, file)
  }
}

/** What most objects are, whole. */
async function readSmall(handle: fs.FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const all = Buffer.allocUnsafeSlow(bytes)
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await handle.read(all, done, bytes - done, offset + done)
    if (bytesRead === 0) return all.subarray(0, done)
    done += bytesRead
  }
  return all
}

/** What is yielded is gone when the next is asked for. */
async function* readPieces(
  handle: fs.FileHandle,
  pieceBytes: () => number,
  start: number,
  length: number,
  signal: AbortSignal | undefined,
  what: string,
): AsyncGenerator<Buffer, void, void> {
  try {
    const buffer = Buffer.allocUnsafeSlow(pieceBytes())
    for (let at = start, left = length; left > 0; ) {
      throwIfAborted(signal)
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, left), at)
      if (bytesRead === 0) return
      yield buffer.subarray(0, bytesRead)
      at += bytesRead
      left -= bytesRead
    }
  } catch (error) {
    throw storageError(error, what)
  } finally {
    await handle.close()
  }
}

const missing = (key: string): BackupError => new BackupError('OBJECT_MISSING', `There is no object at ${key}.`)
const isFolder = (path: string): Promise<boolean> =>
  fs.stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
