import type { Storage } from '../contracts/storage.ts'
import { BackupError } from '../errors.ts'
import { release } from './body.ts'

/**
 * A storage from which can only be read: for restoring from a copy that must not change.
 *
 * @example
 * ```ts
 * import { memory, readOnly } from '@taskflow-backup/core'
 *
 * const storage = readOnly(memory())
 * await storage.delete('a.txt').catch((error) => console.log(error.code)) // STORAGE_READ_ONLY
 * ```
 */
export function readOnly(storage: Storage): Storage {
  const refuse = async (): Promise<never> => {
    throw new BackupError('STORAGE_READ_ONLY', `${storage.describe()} is opened for reading only.`)
  }
  return {
    capabilities: { ...storage.capabilities, readOnly: true },
    put(_key, body) {
      release(body)
      return refuse()
    },
    delete: refuse,
    get: (key, options) => storage.get(key, options),
    stat: (key) => storage.stat(key),
    list: (prefix, options) => storage.list(prefix, options),
    describe: () => `${storage.describe()} (read-only)`,
  }
}
