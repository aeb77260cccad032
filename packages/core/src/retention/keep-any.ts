import type { Decision, RetentionPolicy } from '../contracts/policy.ts'
import { BackupError } from '../errors.ts'
import { askPolicy } from './ask-policy.ts'

/**
 * Keeps what at least one of `policies` keeps.
 *
 * A kept backup has the reasons of those that keep it, a removed one the reasons of all.
 *
 * @throws `OPTIONS_INVALID` when there is no policy; the returned policy throws `CONTRACT_BROKEN` when one of them
 * does not decide about every backup
 *
 * @example
 * ```ts
 * import { keepAny, keepLast, keepWithin } from '@taskflow-backup/core'
 *
 * const retention = keepAny(keepLast(3), keepWithin({ daily: '14d' }))
 * console.log(retention([], new Date())) // []
 * ```
 */
export function keepAny(...policies: readonly RetentionPolicy[]): RetentionPolicy {
  if (policies.length === 0 || policies.some((policy) => typeof policy !== 'function')) {
    throw new BackupError('OPTIONS_INVALID', 'keepAny needs at least one policy, and only policies.', {
      hint: "Write keepAny(keepLast(3), keepWithin({ daily: '14d' })).",
    })
  }
  return (backups, now) => {
    const answers = policies.map((policy) => askPolicy(policy, backups, now))
    return backups.map(({ id }, index) =>
      merge(
        id,
        answers.flatMap((answer) => answer[index] ?? []),
      ),
    )
  }
}

function merge(id: string, decisions: readonly Decision[]): Decision {
  const keeping = decisions.filter((decision) => decision.keep)
  const speaking = keeping.length > 0 ? keeping : decisions
  return { id, keep: keeping.length > 0, reasons: [...new Set(speaking.flatMap((decision) => decision.reasons))] }
}
