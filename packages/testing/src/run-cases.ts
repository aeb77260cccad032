import type { ConformanceCase } from './conformance-case.ts'

/** The part of a test's context that is used: vitest and `node:test` both have it. */
export interface TestContext {
  /** Marks the running test as skipped. */
  skip(reason?: string): void
}

/** The part of a `test` function that is used: vitest's, `node:test`'s, or one of your own. */
export type TestFunction = (name: string, body: (context: TestContext) => Promise<void>) => unknown

/**
 * Registers every case as a test.
 *
 * @example
 * ```ts
 * import test from 'node:test'
 * import { memory } from '@taskflow-backup/core'
 * import { runCases, storageCases } from '@taskflow-backup/testing'
 *
 * const subject = { create: async () => ({ storage: memory(), destroy: async () => {} }) }
 * runCases(storageCases, subject, test)
 * ```
 */
export function runCases<Subject>(
  cases: readonly ConformanceCase<Subject>[],
  subject: Subject,
  test: TestFunction,
): void {
  for (const conformance of cases) {
    test(conformance.name, async (context) => {
      const reason = await conformance.skip?.(subject)
      if (reason === undefined) await conformance.run(subject)
      else context.skip(reason)
    })
  }
}
