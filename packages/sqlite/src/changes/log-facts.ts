import type { Step } from './format.ts'

// What the manifest of a log tells about the moments inside it.

/** A stretch of time whose inside cannot be restored to, as milliseconds since 1970. */
export interface StepGap {
  readonly after: number
  readonly until: number
  readonly reason: string
}

/** What is told of the steps of a log. States are `PageTable.state`, times milliseconds. */
export interface LogOutline {
  readonly firstCommit: number
  readonly lastCommit: number
  readonly before: string
  readonly state: string
  readonly steps: number
  readonly pages: number
  readonly resolutionMs: number
  readonly gaps: readonly StepGap[]
}

/** True for a step in which nothing was committed. */
export const isEmpty = ({ firstCommit, lastCommit }: Step): boolean => lastCommit < firstCommit

/** Where pages were compared, what happened since the step before cannot be told apart. `after`: time of what the log continues. */
export function gapsOf(steps: readonly Step[], after: number): StepGap[] {
  return steps.flatMap((step, i) => {
    const gap = { after: sinceOf(steps, i, after), until: step.capturedAt }
    return isGap(step) ? [{ ...gap, reason: step.reason ?? 'It is not known what happened in between.' }] : []
  })
}

/**
 * How far apart the moments are that can be restored to, gaps left out. An empty step ends a time in which nothing was
 * committed: every moment of it can be restored to.
 */
export function resolutionOf(steps: readonly Step[], after: number): number {
  const distances = steps.map((step, i) =>
    isEmpty(step) || isGap(step) ? 0 : step.capturedAt - sinceOf(steps, i, after),
  )
  return distances.reduce((most, distance) => Math.max(most, distance), 0)
}

const sinceOf = (steps: readonly Step[], i: number, after: number): number =>
  steps[i]?.since ?? steps[i - 1]?.capturedAt ?? after

const isGap = (step: Step): boolean => step.how === 'comparison' && !isEmpty(step)
