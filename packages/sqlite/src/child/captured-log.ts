import type { Step } from '../changes/format.ts'
import { gapsOf, resolutionOf, type StepGap } from '../changes/log-facts.ts'
import { pagesIn } from './change-store.ts'

/** What a backup of the captured steps tells. Times in milliseconds since 1970. */
export interface CapturedLog {
  readonly consistentAt: number
  readonly firstCommit: number
  readonly lastCommit: number
  readonly before: string
  readonly state: string
  readonly steps: number
  readonly pages: number
  readonly how: readonly Step['how'][]
  readonly resolutionMs: number
  readonly gaps: readonly StepGap[]
}

/** What a backup of `steps` tells; there is at least one. */
export function logOf(steps: readonly Step[]): CapturedLog {
  const [first, last] = [steps[0] as Step, steps.at(-1) as Step]
  const after = first.since ?? first.capturedAt
  return {
    consistentAt: last.capturedAt,
    firstCommit: first.firstCommit,
    lastCommit: last.lastCommit,
    before: first.before,
    state: last.after,
    steps: steps.length,
    pages: pagesIn(steps),
    how: [...new Set(steps.map(({ how }) => how))],
    resolutionMs: resolutionOf(steps, after),
    gaps: gapsOf(steps, after),
  }
}
