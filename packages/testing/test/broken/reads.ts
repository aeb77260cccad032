import { Readable } from 'node:stream'
import { BackupError, type Storage } from '@taskflow-backup/core'
import { collect, readAll } from '../../src/index.ts'
import { type BrokenStorage, isStream, sized } from './storage.ts'

/** Storages that break a promise elsewhere. */
export const brokenReads: readonly BrokenStorage[] = [
  [
    'ignores the range',
    [/gives the range/, /range of no bytes/, /past the end/],
    (inner) => ({ get: (key, options) => inner.get(key, options?.signal ? { signal: options.signal } : {}) }),
  ],
  [
    'takes a length of 0 for no length',
    [/range of no bytes/],
    (inner) => ({
      get: (key, { range, signal } = {}) =>
        inner.get(key, {
          ...(signal && { signal }),
          ...(range && { range: range.length ? range : { offset: range.offset } }),
        }),
    }),
  ],
  [
    'fails past the end',
    [/past the end/],
    (inner) => ({
      get: async (key, options) => {
        const found = await inner.stat(key)
        if (found && options?.range && options.range.offset >= found.sizeBytes)
          throw new BackupError('STORAGE_FAILED', '416')
        return inner.get(key, options)
      },
    }),
  ],
  [
    'gives an empty stream for a missing object',
    [/get of a missing/, /delete removes/],
    (inner) => ({
      get: (key, options) =>
        inner.get(key, options).catch((error: BackupError) => {
          if (error.code === 'OBJECT_MISSING') return Readable.from([])
          throw error
        }),
    }),
  ],
  [
    'throws plain errors',
    [/get of a missing/, /is refused/],
    (inner) => ({
      get: (key, options) =>
        inner.get(key, options).catch((error: Error) => {
          throw new Error(error.message)
        }),
    }),
  ],
  [
    'throws when there is nothing to stat',
    [/stat of a missing/],
    (inner) => ({
      stat: async (key) => (await inner.stat(key)) ?? Promise.reject(new BackupError('OBJECT_MISSING', key)),
    }),
  ],
  [
    'tells a wrong size',
    [/stat tells/],
    (inner) => ({
      stat: async (key) => {
        const found = await inner.stat(key)
        return found && { ...found, sizeBytes: found.sizeBytes + 1 }
      },
    }),
  ],
  [
    'tells the time of the epoch',
    [/stat tells/],
    (inner) => ({
      stat: async (key) => {
        const found = await inner.stat(key)
        return found && { ...found, modifiedAt: new Date(0) }
      },
    }),
  ],
  ['does not delete', [/delete removes/, /every put and delete at once/], () => ({ delete: async () => {} })],
  [
    'deletes by prefix',
    [/delete removes/],
    (inner) => ({
      delete: async (key) => {
        await inner.delete(key)
        for (const object of await collect(inner.list(key))) await inner.delete(object.key)
      },
    }),
  ],
  [
    'throws when there is nothing to delete',
    [/delete of a missing/],
    (inner) => ({
      delete: async (key) => {
        if (!(await inner.stat(key))) throw new BackupError('OBJECT_MISSING', key)
        await inner.delete(key)
      },
    }),
  ],
  [
    'does not listen to the signal of a get',
    [/get refuses to begin/, /an abort ends a read/],
    (inner) => ({ get: (key, options) => inner.get(key, options?.range ? { range: options.range } : {}) }),
  ],
  [
    'buffers the whole object',
    [/slow reader/],
    (inner) => ({
      get: async (key, options) => sized(await readAll(await inner.get(key, options))),
    }),
  ],
  [
    'fails when a read is given up',
    [/never read can be destroyed/],
    (inner) => ({
      get: async (key, options) => {
        const body = await inner.get(key, options)
        body._destroy = (_error, done) => done(new Error('given up'))
        return body
      },
    }),
  ],
  [
    'reads the object piece by piece as it is now',
    [/deleted or replaced while it is read/],
    (inner) => ({
      get: async (key, options) => {
        const whole = await readAll(await inner.get(key, options))
        const start = options?.range?.offset ?? 0
        const read = async function* () {
          for (let at = 0; at < whole.length; at += 1_000_000) {
            if (!(await inner.stat(key))) return
            const length = Math.min(1_000_000, whole.length - at)
            yield await readAll(await inner.get(key, { ...options, range: { offset: start + at, length } }))
          }
        }
        return Readable.from(read(), { objectMode: false })
      },
    }),
  ],
  [
    'shares one position between reads',
    [/independent/],
    (inner) => {
      let shared: Buffer = Buffer.alloc(0)
      return {
        get: async (key, options) => {
          shared = await readAll(await inner.get(key, options))
          return Readable.from(
            (async function* () {
              await new Promise((resolve) => setTimeout(resolve, 1))
              yield shared
            })(),
            { objectMode: false },
          )
        },
      }
    },
  ],
  [
    'lists in no order',
    [/ascending order/, /every object below/],
    (inner) => ({
      list: async function* (prefix) {
        yield* (await collect(inner.list(prefix))).reverse()
      },
    }),
  ],
  [
    'sorts folder by folder',
    [/ascending order/],
    (inner) => ({
      list: async function* (prefix) {
        const order = (key: string) => key.replaceAll('/', '\0')
        yield* (await collect(inner.list(prefix))).sort((a, b) => (order(a.key) < order(b.key) ? -1 : 1))
      },
    }),
  ],
  [
    'lists whole folders only',
    [/middle of a segment/],
    (inner) => ({
      list: async function* (prefix) {
        for await (const object of inner.list(prefix))
          if (prefix === '' || prefix.endsWith('/') || object.key[prefix.length] === '/') yield object
      },
    }),
  ],
  [
    'lists with a delay',
    [/every put and delete at once/],
    (inner) => {
      let before: Awaited<ReturnType<typeof collect<never>>> = []
      return {
        list: async function* (prefix) {
          yield* before
          before = (await collect(inner.list(prefix))) as never[]
        },
      }
    },
  ],
  [
    'lists after the folder of a key',
    [/list after a key/],
    (inner) => ({
      list: async function* (prefix, { after } = {}) {
        const folder = after?.slice(0, after.indexOf('/') + 1)
        for await (const object of inner.list(prefix)) if (!folder || !object.key.startsWith(folder)) yield object
      },
    }),
  ],
  [
    'stops after 1,000 keys',
    [/more keys than one page/],
    (inner) => ({
      list: async function* (prefix) {
        let count = 0
        for await (const object of inner.list(prefix)) if (++count <= 1000) yield object
      },
    }),
  ],
  [
    'fails when a listing is given up',
    [/given up in the middle/],
    (inner) => ({
      list: async function* (prefix) {
        let whole = false
        try {
          yield* inner.list(prefix)
          whole = true
        } finally {
          if (!whole) await Promise.reject(new Error('given up'))
        }
      },
    }),
  ],
  [
    'takes every key',
    [/a key with .* is refused/],
    (inner) => {
      const clean = (key: string) =>
        key
          .replace(/[^A-Za-z0-9/]+/g, '_')
          .replace(/^[/_]*|[/_]*$/g, '')
          .replace(/\/+/g, '/') || 'x'
      return {
        put: (key, body, options) =>
          inner.put(
            /^[\w./-]+$/.test(key) &&
              !/^[./-]|\.\.|\/$|\/\/|\.$/.test(key) &&
              !/(^|\/)(con|nul|lpt1)/i.test(key) &&
              key.length < 200 &&
              key.split('/').length < 10
              ? key
              : clean(key).slice(0, 100),
            body,
            options,
          ),
      }
    },
  ],
  [
    'lists outside of itself',
    [/no begin of a key/],
    (inner) => ({
      list: (prefix) => inner.list(prefix.replace(/[^A-Za-z0-9]/g, '')),
    }),
  ],
  [
    'refuses long keys',
    [/longest key/],
    (inner) => ({
      put: async (key, body, options) => {
        if (key.length > 250) throw new BackupError('KEY_INVALID', 'too long')
        return inner.put(key, body, options)
      },
    }),
  ],
  ['shows a secret', [/describe tells where/], () => ({ describe: () => 's3://key:hunter2@bucket' })],
  [
    'shows a secret in an error',
    [/no error shows/],
    (inner) => ({
      get: (key, options) =>
        inner.get(key, options).catch((error: BackupError) => {
          throw new BackupError(error.code, `${error.message} (password hunter2)`)
        }),
    }),
  ],
  ['states nothing', [/capabilities are stated/], () => ({ capabilities: {} as Storage['capabilities'] })],
  [
    'mixes old and new',
    [/put replaces/],
    (inner) => ({
      put: async (key, body, options) => {
        const old = options?.ifAbsent ? Buffer.alloc(0) : await inner.get(key).then(readAll, () => Buffer.alloc(0))
        const bytes = isStream(body) ? await readAll(body) : body
        await inner.put(key, Buffer.concat([bytes, old.subarray(bytes.length)]), options)
        return { bytes: bytes.length }
      },
    }),
  ],
]
