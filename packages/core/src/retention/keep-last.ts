import type { RetentionPolicy } from '../contracts/policy.ts'
import { BackupError } from '../errors.ts'
import { decideByFull } from './follow-full.ts'
import { fullsNewestFirst } from './order.ts'

/**
 * Keeps the newest `count` fulls, with their differentials and logs.
 *
 * @throws `OPTIONS_INVALID` when `count` is not a whole number from 1
 *
 * @example
 * ```ts
 * import { keepAny, keepLast, keepWithin } from '@taskflow-backup/core'
 *
 * const retention = keepAny(keepLast(3), keepWithin({ daily: '14d' }))
 * console.log(retention([], new Date())) // []
 * ```
 */
export function keepLast(count: number): RetentionPolicy {
  if (!Number.isInteger(count) || count < 1) {
    throw new BackupError('OPTIONS_INVALID', `keepLast needs a whole number from 1, not ${String(count)}.`, {
      hint: 'Use keepAll() to keep everything.',
    })
  }
  return (backups) => {
    const fulls = fullsNewestFirst(backups).slice(0, count)
    const kept = new Map(fulls.map((full, index) => [full.id, [`number ${index + 1} of the newest ${count}`]]))
    return decideByFull(backups, kept, `not among the newest ${count}`)
  }
}
