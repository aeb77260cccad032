import { Readable } from 'node:stream'
import type { GetOptions, ObjectInfo, PutOptions, Storage } from '../contracts/storage.ts'
import { BackupError, throwIfAborted, toBackupError } from '../errors.ts'
import { bodyPieces, release } from './body.ts'
import { assertKey, assertPrefix } from './key.ts'

/**
 * Keeps objects in this process's memory: for tests, and for looking at what a plan would store.
 *
 * @example
 * ```ts
 * import { memory } from '@taskflow-backup/core'
 *
 * const storage = memory()
 * await storage.put('a/b.txt', new TextEncoder().encode('hello'))
 * console.log((await storage.stat('a/b.txt'))?.sizeBytes) // 5
 * ```
 */
export function memory(name = 'memory'): Storage {
  const objects = new Map<string, { bytes: Buffer; modifiedAt: Date }>()
  const info = (key: string, object: { bytes: Buffer; modifiedAt: Date }): ObjectInfo => ({
    key,
    sizeBytes: object.bytes.length,
    modifiedAt: object.modifiedAt,
  })

  return {
    capabilities: { conditionalPut: true, readOnly: false },

    async put(key, body, { signal, ifAbsent }: PutOptions = {}) {
      const pieces: Uint8Array[] = []
      try {
        assertKey(key)
        for await (const piece of bodyPieces(body, signal)) pieces.push(Buffer.from(piece))
      } catch (error) {
        throw toBackupError(error, 'STORAGE_FAILED', `Cannot store ${key}`)
      } finally {
        release(body)
      }
      if (ifAbsent && objects.has(key)) throw new BackupError('KEY_EXISTS', `There is an object at ${key} already.`)
      const bytes = Buffer.concat(pieces)
      objects.set(key, { bytes, modifiedAt: new Date() })
      return { bytes: bytes.length }
    },

    async get(key, { signal, range }: GetOptions = {}) {
      assertKey(key)
      throwIfAborted(signal)
      const object = objects.get(key)
      if (!object) throw new BackupError('OBJECT_MISSING', `There is no object at ${key}.`)
      const from = range?.offset ?? 0
      const to = range?.length === undefined ? object.bytes.length : from + range.length
      return Readable.from(slices(object.bytes.subarray(from, to), signal), { objectMode: false })
    },

    async stat(key) {
      assertKey(key)
      const object = objects.get(key)
      return object && info(key, object)
    },

    async *list(prefix) {
      assertPrefix(prefix)
      const keys = [...objects.keys()].filter((key) => key.startsWith(prefix)).sort()
      for (const key of keys) {
        const object = objects.get(key)
        if (object) yield info(key, object)
      }
    },

    async delete(key) {
      assertKey(key)
      objects.delete(key)
    },

    describe: () => name,
  }
}

async function* slices(bytes: Buffer, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  const size = 256 * 1024
  for (let at = 0; at < bytes.length; at += size) {
    throwIfAborted(signal)
    yield bytes.subarray(at, at + size)
  }
}
