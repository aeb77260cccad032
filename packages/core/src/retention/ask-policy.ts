import type { CatalogEntry } from '../contracts/backup.ts'
import type { Decision, RetentionPolicy } from '../contracts/policy.ts'
import { BackupError, toBackupError } from '../errors.ts'

/**
 * Asks a policy, which may be anybody's code, and checks its answer: exactly one decision for every backup, each with
 * a reason. Returns the decisions in the order of `entries`, whose ids must differ. The policy gets copies, so that
 * one that sorts in place does no harm.
 *
 * @throws `CONTRACT_BROKEN` when the policy throws or its answer is not that
 */
export function askPolicy(policy: RetentionPolicy, entries: readonly CatalogEntry[], now: Date): readonly Decision[] {
  let answer: readonly Decision[]
  try {
    answer = policy([...entries], new Date(now))
  } catch (error) {
    throw toBackupError(error, 'CONTRACT_BROKEN', 'The retention policy threw')
  }
  if (!Array.isArray(answer)) throw broken('did not return an array')
  for (const decision of answer) checkShape(decision)
  // Most policies answer in order; looking up ten thousand ids takes longer than all the rest.
  const inOrder = answer.length === entries.length && entries.every(({ id }, index) => answer[index]?.id === id)
  return inOrder ? answer : putInOrder(answer, entries)
}

function putInOrder(answer: readonly Decision[], entries: readonly CatalogEntry[]): Decision[] {
  const decisions = new Map<string, Decision>()
  for (const decision of answer) {
    if (decisions.has(decision.id)) throw broken(`decided twice about ${decision.id}`)
    decisions.set(decision.id, decision)
  }
  const ordered = entries.map(({ id }) => {
    const decision = decisions.get(id)
    if (decision === undefined) throw broken(`did not decide about ${id}`)
    decisions.delete(id)
    return decision
  })
  const [unknown] = decisions.keys()
  if (unknown !== undefined) throw broken(`decided about ${unknown}, which is not in the catalogue`)
  return ordered
}

function checkShape(decision: Decision): void {
  if (typeof decision !== 'object' || decision === null || typeof decision.id !== 'string') {
    throw broken('returned something that is not a decision')
  }
  const { id, keep, reasons } = decision
  if (typeof keep !== 'boolean') throw broken(`did not say whether to keep ${id}`)
  const given = Array.isArray(reasons) && reasons.length > 0
  if (!given || !reasons.every((reason) => typeof reason === 'string' && reason !== '')) {
    throw broken(`gave no reason for ${id}`)
  }
}

function broken(fault: string): BackupError {
  return new BackupError('CONTRACT_BROKEN', `The retention policy ${fault}.`)
}
