import type { Step } from '../changes/format.ts'

/** For each captured step, `PageTable.state` after each of its commits: a full may have been made at any of them. */
export class StepStates {
  #states: (readonly string[])[] = []
  #open: string[] = []

  /** A commit ended with `state`. */
  endCommit(state: string): void {
    this.#open.push(state)
  }

  /** A step of so many commits ended with `state`; those of a comparison are not told one by one. */
  endStep(commits: number, state: string): void {
    this.#states.push(this.#open.length === commits ? this.#open : [state])
    this.#open = []
  }

  /** The newest moment at which the state was that one: so many commits of the step at `index` lead to it. */
  find(state: string): { readonly index: number; readonly commits: number } | undefined {
    for (let index = this.#states.length - 1; index >= 0; index--) {
      const at = (this.#states[index] as readonly string[]).lastIndexOf(state)
      if (at >= 0) return { index, commits: at + 1 }
    }
    return undefined
  }

  /** Makes two steps of the one at `index`: the first one with so many commits. @returns the state between them */
  split(index: number, commits: number): string {
    const states = this.#states[index] as readonly string[]
    this.#states.splice(index, 1, states.slice(0, commits), states.slice(commits))
    return states[commits - 1] as string
  }

  /** Forgets what is behind the first steps. */
  truncate(steps: number): void {
    this.#states.splice(steps)
    this.#open = []
  }

  /** Forgets the first steps. */
  forget(steps: number): void {
    this.#states.splice(0, steps)
  }
}

/** The same commits as two steps: the first one with so many of them, and `between` as the state after it. */
export function splitStep(step: Step, commits: number, between: string): [Step, Step] {
  const { mark, ...rest } = step
  const middle = step.firstCommit + commits
  return [
    { ...rest, after: between, lastCommit: middle - 1, commits: step.commits.slice(0, commits) },
    { ...rest, before: between, firstCommit: middle, commits: step.commits.slice(commits), ...(mark && { mark }) },
  ]
}

/** The same steps with commits counted from behind `lastCommit`, and no time before `notBefore`. */
export function renumber(
  steps: readonly Step[],
  { lastCommit, notBefore }: { readonly lastCommit: number; readonly notBefore: number },
): Step[] {
  let commit = lastCommit
  return steps.map((step) => {
    const firstCommit = commit + 1
    commit += step.commits.length
    const [lookedAt, capturedAt] = [step.lookedAt, step.capturedAt].map((moment) => Math.max(moment, notBefore))
    return { ...step, lookedAt, capturedAt, firstCommit, lastCommit: commit } as Step
  })
}
