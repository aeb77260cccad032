import type { Readable } from 'node:stream'

/** One stored object, as a listing shows it. */
export interface ObjectInfo {
  readonly key: string
  readonly sizeBytes: number
  readonly modifiedAt: Date
}

/** What a storage can do beyond the six methods; stated, not found out by failing. */
export interface StorageCapabilities {
  /** `put` with `ifAbsent` is atomic: of two writers of one key exactly one succeeds. */
  readonly conditionalPut: boolean
  /** Nothing can be written or deleted. */
  readonly readOnly: boolean
}

export interface PutOptions {
  readonly signal?: AbortSignal
  /** Fail with `KEY_EXISTS` instead of replacing an object. */
  readonly ifAbsent?: boolean
  /** False: it means nothing after a power failure, and need not be there then. Default: true. */
  readonly durable?: boolean
}

/** A part of an object: `length` bytes from `offset`, to the end without `length`. */
export interface ByteRange {
  readonly offset: number
  readonly length?: number
}

export interface GetOptions {
  readonly signal?: AbortSignal
  readonly range?: ByteRange
}

export interface ListOptions {
  /**
   * Only keys that sort after this text are wanted. A listing that can begin there costs less; a storage that cannot do
   * that may tell the others as well.
   */
  readonly after?: string
}

/**
 * Keeps bytes under keys. Six methods, no base class; `@taskflow-backup/testing` has the conformance cases.
 *
 * Keys are `/`-separated paths of the characters that {@link assertKey} allows. Every method rejects with a
 * `BackupError`; `retryable` says whether trying again may help.
 */
export interface Storage {
  readonly capabilities: StorageCapabilities
  /**
   * Stores `body` under `key`. Nothing becomes visible under `key` unless the body ended cleanly and arrived whole;
   * what was there before stays until then.
   *
   * @throws `KEY_EXISTS`, `STORAGE_FULL`, `STORAGE_DENIED`, `STORAGE_READ_ONLY`, `STORAGE_FAILED`, `ABORTED`
   */
  put(key: string, body: Readable | Uint8Array, options?: PutOptions): Promise<{ bytes: number }>
  /**
   * Opens the object under `key`, or the part of it that `range` names.
   *
   * @throws `OBJECT_MISSING`, `STORAGE_DENIED`, `STORAGE_FAILED`, `ABORTED`
   */
  get(key: string, options?: GetOptions): Promise<Readable>
  /** Size and time of the object under `key`, or `undefined` when there is none. */
  stat(key: string): Promise<ObjectInfo | undefined>
  /** Every object whose key begins with `prefix`, in ascending order of keys. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ObjectInfo>
  /** Deletes the object under `key`; a missing one is not an error. */
  delete(key: string): Promise<void>
  /** Where the bytes are, for people; never a secret. */
  describe(): string
}
