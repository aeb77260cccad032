import type { Storage } from '@taskflow-backup/core'
import type { ConformanceCase } from '../conformance-case.ts'

/** Makes instances of the storage under test for {@link storageCases}. */
export interface StorageSubject {
  /** A new and empty storage, and what clears it away. */
  create(): Promise<{ storage: Storage; destroy(): Promise<void> }>
  /** Texts that `describe()` must not show: passwords, keys, tokens. */
  readonly secrets?: readonly string[]
}

/** A case whose storage is made before and destroyed after it. */
export function storageCase(
  name: string,
  fault: string,
  body: (storage: Storage, subject: StorageSubject) => Promise<void>,
): ConformanceCase<StorageSubject> {
  return {
    name,
    fault,
    async run(subject) {
      const { storage, destroy } = await subject.create()
      try {
        await body(storage, subject)
      } finally {
        await destroy()
      }
    },
  }
}
