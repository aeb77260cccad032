import { BackupError } from '@taskflow-backup/core'
import { readAll } from '../../src/index.ts'
import { type BrokenStorage, isStream } from './storage.ts'

/** Storages whose `put` breaks a promise. */
export const brokenPuts: readonly BrokenStorage[] = [
  [
    'stores what came before the body failed',
    [/nothing is visible .* fails in the middle/, /old object stays when its body fails/, /destroyed in the middle/],
    (inner) => ({
      put: async (key, body, options) => {
        const pieces: Uint8Array[] = []
        try {
          for await (const piece of isStream(body) ? body : [body]) pieces.push(piece)
        } catch (error) {
          await inner.put(key, Buffer.concat(pieces))
          throw new BackupError('STORAGE_FAILED', String(error))
        }
        return inner.put(key, Buffer.concat(pieces), options)
      },
    }),
  ],
  [
    'takes a failed body for a whole one',
    [/its body fails in the middle/],
    (inner) => ({
      put: async (key, body, options) => {
        const pieces: Uint8Array[] = []
        await (async () => {
          for await (const piece of isStream(body) ? body : [body]) pieces.push(piece)
        })().catch(() => {})
        return inner.put(key, Buffer.concat(pieces), options)
      },
    }),
  ],
  [
    'deletes the old object before the new one is whole',
    [/old object stays/],
    (inner) => ({
      put: async (key, body, options) => {
        if (isStream(body)) await inner.delete(key)
        return inner.put(key, body, options)
      },
    }),
  ],
  [
    'shows an object while it is written',
    [/while a put is under way/],
    (inner) => ({
      put: async (key, body, options) => {
        if (isStream(body)) await inner.put(key, new Uint8Array(0))
        return inner.put(key, body, options)
      },
    }),
  ],
  [
    'does not listen to the signal of a put',
    [/aborted while its body stands still/, /refuses to begin/, /LOCK_LOST|BackupError as its reason/],
    (inner) => ({
      put: (key, body, options) => inner.put(key, body, options?.ifAbsent ? { ifAbsent: true } : {}),
    }),
  ],
  [
    'overwrites in spite of ifAbsent',
    [/ifAbsent keeps/, /exactly one succeeds/],
    (inner) => ({
      put: (key, body, options) => inner.put(key, body, options?.signal ? { signal: options.signal } : {}),
    }),
  ],
  [
    'looks first and puts later',
    [/exactly one succeeds/],
    (inner) => ({
      put: async (key, body, { ifAbsent, signal } = {}) => {
        if (ifAbsent && (await inner.stat(key))) throw new BackupError('KEY_EXISTS', 'there')
        return inner.put(key, body, signal ? { signal } : {})
      },
    }),
  ],
  [
    'answers a wrong length',
    [/how many bytes/, /put and get give back/],
    (inner) => ({
      put: async (key, body, options) => ({ bytes: (await inner.put(key, body, options)).bytes + 1 }),
    }),
  ],
  [
    'drops the last byte',
    [/give back 1 bytes/, /small pieces/],
    (inner) => ({
      put: async (key, body, options) => {
        const bytes = isStream(body) ? await readAll(body) : body
        await inner.put(key, bytes.subarray(0, -1), options)
        return { bytes: bytes.length }
      },
    }),
  ],
  [
    'mixes concurrent puts of one key',
    [/one wins whole/],
    (inner) => {
      const shared = new Map<string, Buffer>()
      return {
        put: async (key, body, options) => {
          shared.set(key, Buffer.alloc(0))
          let bytes = 0
          for await (const piece of isStream(body) ? body : [body]) {
            bytes += piece.length
            shared.set(key, Buffer.concat([shared.get(key) as Buffer, piece]))
          }
          await inner.put(key, shared.get(key) as Buffer, options)
          return { bytes }
        },
      }
    },
  ],
  [
    'mixes puts of different keys',
    [/many keys at once/],
    (inner) => {
      let shared: Uint8Array = new Uint8Array(0)
      return {
        put: async (key, body, options) => {
          shared = isStream(body) ? await readAll(body) : body
          await new Promise((resolve) => setTimeout(resolve, 2))
          return inner.put(key, shared, options)
        },
      }
    },
  ],
]
