import type { ConformanceCase } from './conformance-case.ts'
import { getCases } from './storage/get-cases.ts'
import { listCases } from './storage/list-cases.ts'
import { putCases } from './storage/put-cases.ts'
import type { StorageSubject } from './storage/subject.ts'

/**
 * All that the `Storage` contract asks for. Each case makes a storage of its own, and destroys it afterwards.
 *
 * @example
 * ```ts
 * import { memory } from '@taskflow-backup/core'
 * import { storageCases } from '@taskflow-backup/testing'
 *
 * const subject = { create: async () => ({ storage: memory(), destroy: async () => {} }) }
 * for (const { run } of storageCases) await run(subject)
 * ```
 */
export const storageCases: readonly ConformanceCase<StorageSubject>[] = [...putCases, ...getCases, ...listCases]
