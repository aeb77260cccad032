import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, BackupError, type ErrorCode, type ObjectInfo, type Storage } from '@taskflow-backup/core'
import { readAll } from './bytes.ts'

/** The methods of a storage that can fail. */
export type StorageOperation = 'put' | 'get' | 'stat' | 'list' | 'delete'

/** One call of a method of a {@link faulty} storage. */
export interface StorageCall {
  readonly operation: StorageOperation
  /** The key; the prefix of a `list`. */
  readonly key: string
  /** Counts all calls, from 1. */
  readonly number: number
  /** Counts the calls of this operation, from 1. */
  readonly ofOperation: number
}

/** Which calls a fault strikes: the call of that number in all, or every one for which the function says so. */
export type FaultWhen = number | ((call: StorageCall) => boolean)

/** One thing that goes wrong. Faults that do not fit the operation (a flipped `stat`) strike nothing. */
export type Fault = { readonly when: FaultWhen } & (
  | {
      /** Rejects: before anything happened, or `after` it took effect (a `get` then breaks off in its middle). */
      readonly kind: 'error'
      readonly after?: boolean
      /** Default: `STORAGE_FAILED`. */
      readonly code?: ErrorCode
      /** Default: false. */
      readonly retryable?: boolean
      /** Bytes that a `get` gives before it breaks off. Default: the half. */
      readonly at?: number
    }
  /** `put` reads a part of its body and rejects with `STORAGE_FULL`, leaving nothing. */
  | { readonly kind: 'full' }
  | {
      /** `put` stores only the first bytes and answers as if all were well. */
      readonly kind: 'short-write'
      /** Bytes to store. Default: the half. */
      readonly at?: number
      /** Whether it answers the length that was sent, or the one that was stored. Default: `sent`. */
      readonly answer?: 'sent' | 'stored'
    }
  | {
      /** `put` stores, or `get` gives, one changed byte. */
      readonly kind: 'flip'
      /** Offset of the byte, counted modulo the length. Default: the middle. */
      readonly at?: number
    }
  | {
      /** `get` ends cleanly, too early. */
      readonly kind: 'truncate'
      /** Bytes that are given. Default: the half. */
      readonly at?: number
    }
  /** Waits before it goes on. */
  | { readonly kind: 'delay'; readonly delayMs: number }
  /** Does nothing until its signal is aborted (then rejects with `ABORTED`), or until {@link FaultyStorage.release}. */
  | { readonly kind: 'hang' }
)

/** A storage that fails on purpose, and remembers what was asked of it. */
export interface FaultyStorage extends Storage {
  /** Every call so far, oldest first. */
  readonly calls: readonly StorageCall[]
  /** The faults that struck, with the call that each struck. */
  readonly struck: readonly { readonly fault: Fault; readonly call: StorageCall }[]
  /** Forgets calls and counts, and goes on with another plan of faults. */
  restart(plan?: readonly Fault[]): void
  /** Lets everything go on that hangs. */
  release(): void
}

/**
 * Decorates a storage so that it fails exactly when and how `plan` says. What it stores or gives is kept in memory
 * while a fault changes it.
 *
 * @example
 * ```ts
 * import { memory } from '@taskflow-backup/core'
 * import { faulty } from '@taskflow-backup/testing'
 *
 * const storage = faulty(memory(), { plan: [{ kind: 'error', when: 2 }] })
 * await storage.put('a', new Uint8Array(3))
 * await storage.stat('a').catch((error) => console.log(error.code)) // STORAGE_FAILED
 * console.log(storage.calls.map(({ operation }) => operation)) // [ 'put', 'stat' ]
 * ```
 */
export function faulty(
  storage: Storage,
  { plan: first = [] }: { readonly plan?: readonly Fault[] } = {},
): FaultyStorage {
  let plan = first
  let calls: StorageCall[] = []
  let struck: { fault: Fault; call: StorageCall }[] = []
  let hanging: (() => void)[] = []

  const begin = (operation: StorageOperation, key: string): Fault | undefined => {
    const ofOperation = calls.filter((call) => call.operation === operation).length + 1
    const call = { operation, key, number: calls.length + 1, ofOperation }
    calls.push(call)
    const fault = plan.find(({ when }) => (typeof when === 'number' ? when === call.number : when(call)))
    if (!fault || !FITS[fault.kind].includes(operation)) return undefined
    struck.push({ fault, call })
    return fault
  }
  const hang = (signal?: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      hanging.push(resolve)
      signal?.addEventListener('abort', () => reject(abortError(signal)), { once: true })
      if (signal?.aborted) reject(abortError(signal))
    })
  /** What happens before the operation, whichever it is. */
  const before = async (fault: Fault | undefined, what: string, signal?: AbortSignal): Promise<void> => {
    if (fault?.kind === 'delay') await sleep(fault.delayMs)
    if (fault?.kind === 'hang') await hang(signal)
    if (fault?.kind === 'error' && !fault.after) throw failure(fault, what)
  }
  const after = (fault: Fault | undefined, what: string): void => {
    if (fault?.kind === 'error' && fault.after) throw failure(fault, what)
  }

  return {
    capabilities: storage.capabilities,
    get calls() {
      return calls
    },
    get struck() {
      return struck
    },
    restart(next = []) {
      plan = next
      calls = []
      struck = []
    },
    release() {
      for (const go of hanging) go()
      hanging = []
    },

    async put(key, body, options) {
      const fault = begin('put', key)
      const what = `put of ${key}`
      try {
        await before(fault, what, options?.signal)
        if (fault?.kind === 'full') throw await filledUp(body, what)
        if (fault?.kind !== 'short-write' && fault?.kind !== 'flip') {
          const answer = await storage.put(key, body, options)
          after(fault, what)
          return answer
        }
        const bytes = body instanceof Uint8Array ? Buffer.from(body) : await readAll(body)
        if (fault.kind === 'flip') return await storage.put(key, flipped(bytes, fault.at), options)
        const short = bytes.subarray(0, Math.min(fault.at ?? bytes.length >> 1, Math.max(0, bytes.length - 1)))
        const stored = await storage.put(key, short, options)
        return fault.answer === 'stored' ? stored : { bytes: bytes.length }
      } catch (error) {
        if (body instanceof Readable) body.destroy()
        throw error
      }
    },

    async get(key, options) {
      const fault = begin('get', key)
      const what = `get of ${key}`
      await before(fault, what, options?.signal)
      const body = await storage.get(key, options)
      if (fault?.kind !== 'flip' && fault?.kind !== 'truncate' && fault?.kind !== 'error') return body
      const bytes = await readAll(body)
      const end = 'at' in fault && fault.at !== undefined ? fault.at : bytes.length >> 1
      if (fault.kind === 'flip') return oneByOne(flipped(bytes, fault.at))
      if (fault.kind === 'truncate') return oneByOne(bytes.subarray(0, end))
      return oneByOne(bytes.subarray(0, end), failure(fault, what))
    },

    async stat(key) {
      const fault = begin('stat', key)
      await before(fault, `stat of ${key}`)
      const found = await storage.stat(key)
      after(fault, `stat of ${key}`)
      return found
    },

    async *list(prefix, options): AsyncGenerator<ObjectInfo> {
      const fault = begin('list', prefix)
      await before(fault, `list of ${prefix}`)
      yield* storage.list(prefix, options)
      after(fault, `list of ${prefix}`)
    },

    async delete(key) {
      const fault = begin('delete', key)
      await before(fault, `delete of ${key}`)
      await storage.delete(key)
      after(fault, `delete of ${key}`)
    },

    describe: () => `faulty ${storage.describe()}`,
  }
}

const ALL: readonly StorageOperation[] = ['put', 'get', 'stat', 'list', 'delete']

const FITS: Readonly<Record<Fault['kind'], readonly StorageOperation[]>> = {
  error: ALL,
  full: ['put'],
  'short-write': ['put'],
  flip: ['put', 'get'],
  truncate: ['get'],
  delay: ALL,
  hang: ALL,
}

function failure(fault: Extract<Fault, { kind: 'error' }>, what: string): BackupError {
  const when = fault.after ? 'after it took effect' : 'before it began'
  return new BackupError(fault.code ?? 'STORAGE_FAILED', `The ${what} failed on purpose ${when}.`, {
    retryable: fault.retryable ?? false,
  })
}

async function filledUp(body: Readable | Uint8Array, what: string): Promise<BackupError> {
  if (!(body instanceof Uint8Array)) for await (const _ of body) break
  return new BackupError('STORAGE_FULL', `The ${what} found no room, on purpose.`)
}

function flipped(bytes: Buffer, at = bytes.length >> 1): Buffer {
  const copy = Buffer.from(bytes)
  const place = at % Math.max(1, copy.length)
  if (copy.length > 0) copy[place] = (copy[place] as number) ^ 0x01
  return copy
}

function oneByOne(bytes: Buffer, error?: Error): Readable {
  const give = function* (): Generator<Buffer> {
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
    if (error) throw error
  }
  return Readable.from(give(), { objectMode: false })
}
