import { BackupError } from '@taskflow-backup/core'
import type { Step } from './format.ts'

/** Where a recovery stops: nothing that was captured after `at`, nothing after the commit number `commit`. */
export interface Limit {
  /** Milliseconds since 1970. */
  readonly at?: number
  readonly commit?: number
}

/** Which part of a log a recovery takes. */
export interface ChosenSteps {
  /** Steps that are taken whole: from `first` on, before `end`. */
  readonly first: number
  readonly end: number
  /** How many commits of the step `end` are taken. */
  readonly partly: number
  /** Nothing behind them is taken, neither of this log nor of a later one. */
  readonly isLast: boolean
}

/**
 * Chooses from a log's steps what leads on from the commit number `current`.
 *
 * @throws `POINT_UNREACHABLE` when the limit is a commit that is not told apart from others
 */
export function chooseSteps(steps: readonly Step[], current: number, { at, commit }: Limit): ChosenSteps {
  let first = 0
  while (first < steps.length && (steps[first] as Step).lastCommit <= current) first++
  let end = first
  for (; end < steps.length; end++) {
    const step = steps[end] as Step
    if (at !== undefined && step.capturedAt > at) return { first, end, partly: 0, isLast: true }
    if (commit === undefined || step.lastCommit <= commit) continue
    const partly = Math.max(0, commit - step.firstCommit + 1)
    if (partly > 0 && step.commits.length !== step.lastCommit - step.firstCommit + 1) {
      throw unreachable(commit, `it is one with others: the nearest are ${step.firstCommit - 1} and ${step.lastCommit}`)
    }
    return { first, end, partly, isLast: true }
  }
  return { first, end, partly: 0, isLast: commit !== undefined && (steps.at(-1) as Step).lastCommit >= commit }
}

/** A commit number that no restore leads to. */
export function unreachable(commit: number, why: string): BackupError {
  return new BackupError('POINT_UNREACHABLE', `Commit ${commit} cannot be restored: ${why}.`)
}
