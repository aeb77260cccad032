import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { GetOptions, ListOptions, Storage } from '../contracts/storage.ts'
import { abortError, BackupError, toBackupError } from '../errors.ts'

export interface RetryOptions {
  /** Tries in all, the first one included. Default: 5. */
  readonly attempts?: number
  /** Pause before the second try, in milliseconds; it doubles each time, with jitter. Default: 200. */
  readonly firstDelayMs?: number
  /** Longest pause, in milliseconds. Default: 10,000. */
  readonly maxDelayMs?: number
}

/**
 * Tries again what failed with a `retryable` error. A read that breaks off goes on where it stopped. A `put` of a
 * stream is tried once only, because its bytes are gone; a `put` of bytes in memory is tried again.
 *
 * @example
 * ```ts
 * import { memory, withRetry } from '@taskflow-backup/core'
 *
 * const storage = withRetry(memory(), { attempts: 3, firstDelayMs: 10 })
 * await storage.put('a.txt', new TextEncoder().encode('hello'))
 * ```
 */
export function withRetry(storage: Storage, options: RetryOptions = {}): Storage {
  const { attempts = 5, firstDelayMs = 200, maxDelayMs = 10_000 } = options
  const pause = async (attempt: number, signal?: AbortSignal): Promise<void> => {
    const delayMs = Math.min(maxDelayMs, firstDelayMs * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2)
    await sleep(delayMs, undefined, signal ? { signal } : {}).catch(() => {
      throw abortError(signal as AbortSignal)
    })
  }
  const mayRetry = (error: unknown, attempt: number): boolean =>
    attempt < attempts && error instanceof BackupError && error.retryable

  async function again<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        if (!mayRetry(error, attempt)) throw error
        await pause(attempt, signal)
      }
    }
  }

  async function* resumed(key: string, first: Readable, { signal, range }: GetOptions): AsyncGenerator<Buffer> {
    const start = range?.offset ?? 0
    let body = first
    let done = 0
    for (let attempt = 1; ; ) {
      try {
        for await (const piece of body) {
          done += (piece as Buffer).length
          attempt = 1
          yield piece as Buffer
        }
        return
      } catch (error) {
        body.destroy()
        if (!mayRetry(error, attempt)) throw toBackupError(error, 'STORAGE_FAILED', `Cannot read ${key}`)
        await pause(attempt++, signal)
        const rest = range?.length === undefined ? {} : { length: range.length - done }
        const from = { offset: start + done, ...rest }
        body = await again(() => storage.get(key, { ...(signal && { signal }), range: from }), signal)
      }
    }
  }

  return {
    capabilities: storage.capabilities,
    put: (key, body, put = {}) =>
      body instanceof Uint8Array ? again(() => storage.put(key, body, put), put.signal) : storage.put(key, body, put),
    get: async (key, get = {}) => {
      const body = await again(() => storage.get(key, get), get.signal)
      // A body that is destroyed before it was read never enters its generator.
      return Readable.from(resumed(key, body, get), { objectMode: false }).once('close', () => body.destroy())
    },
    stat: (key) => again(() => storage.stat(key)),
    async *list(prefix, { after = '' }: ListOptions = {}) {
      // A listing that breaks off begins anew behind what it has told already.
      let last = after
      for (let attempt = 1; ; ) {
        try {
          for await (const object of storage.list(prefix, last === '' ? {} : { after: last })) {
            if (object.key <= last) continue
            last = object.key
            attempt = 1
            yield object
          }
          return
        } catch (error) {
          if (!mayRetry(error, attempt)) throw error
          await pause(attempt++)
        }
      }
    },
    delete: (key) => again(() => storage.delete(key)),
    describe: () => storage.describe(),
  }
}
