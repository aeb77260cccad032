import type { CatalogEntry } from '../contracts/backup.ts'
import type { Decision } from '../contracts/policy.ts'

/** What becomes of one backup while it is being decided. */
export interface Verdict {
  readonly entry: CatalogEntry
  /** What the policy said. */
  readonly answer: Decision
  /** Why it stays whatever the policy said; without any, the policy's word holds. */
  guards: readonly string[]
}

/** Whether the backup stays, as far as is known by now. */
export function isKept(verdict: Verdict): boolean {
  return verdict.answer.keep || verdict.guards.length > 0
}

/** Makes the backup stay for `reason`. */
export function guard(verdict: Verdict, reason: string): void {
  if (!verdict.guards.includes(reason)) verdict.guards = [...verdict.guards, reason]
}
