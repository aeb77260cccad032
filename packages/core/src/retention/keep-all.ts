import type { RetentionPolicy } from '../contracts/policy.ts'

/**
 * Keeps every backup.
 *
 * @example
 * ```ts
 * import { keepAll } from '@taskflow-backup/core'
 *
 * console.log(keepAll()([], new Date())) // []
 * ```
 */
export function keepAll(): RetentionPolicy {
  return (backups) => backups.map(({ id }) => ({ id, keep: true, reasons: ['every backup is kept'] }))
}
