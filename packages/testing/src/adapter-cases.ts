import { chainCases } from './adapter/chain-cases.ts'
import { faultCases } from './adapter/fault-cases.ts'
import { followCases } from './adapter/follow-cases.ts'
import { mergeCases } from './adapter/merge-cases.ts'
import { restoreCases } from './adapter/restore-cases.ts'
import type { AdapterSubject } from './adapter/subject.ts'
import type { ConformanceCase } from './conformance-case.ts'

/**
 * All that the `BackupAdapter` contract asks for, tried through core's verbs over a storage in memory. Cases about
 * kinds of backup that the adapter does not make, and about what the subject cannot do, are skipped.
 *
 * @example
 * ```ts
 * import { adapterCases, ledgerSubject } from '@taskflow-backup/testing'
 *
 * for (const { run } of adapterCases) await run(ledgerSubject)
 * ```
 */
export const adapterCases: readonly ConformanceCase<AdapterSubject>[] = [
  ...restoreCases,
  ...chainCases,
  ...followCases,
  ...mergeCases,
  ...faultCases,
]
