import { outcomeOf, pagesOf } from './commits.ts'
import type { Step } from './format.ts'
import { isEmpty } from './log-facts.ts'

/** Stands for a page of zeros among the numbers of images. */
export const ZERO_IMAGE = 0xffffffff

/** Steps that several logs have between them, and what of their pages is kept. */
export interface MergedSteps {
  readonly steps: readonly Step[]
  /** For each page that is kept its number, and its place among the pages that went in, or {@link ZERO_IMAGE}. */
  readonly pages: Uint32Array
  readonly images: Uint32Array
}

/**
 * Joins steps that follow on one another: empty ones, and with `resolutionMs` all that end in the same period of so many
 * milliseconds. Of steps that are joined, each page is kept once. Different ways to capture are not joined.
 *
 * `pages` are the numbers of all pages that the steps wrote.
 */
export function mergeSteps(steps: readonly Step[], pages: Uint32Array, resolutionMs?: number): MergedSteps {
  const groups: Step[][] = []
  for (const step of steps) {
    const group = groups.at(-1)
    if (group && canJoin(group, step, resolutionMs)) group.push(step)
    else groups.push([step])
  }
  const out = { steps: [] as Step[], pages: [] as number[], images: [] as number[] }
  let first = 0
  for (const group of groups) {
    const commits = group.flatMap((step) => step.commits)
    const written = pagesOf(commits)
    const joins = commits.length > 0 && resolutionMs !== undefined
    const kept = joins ? lastPages(pages, first, commits) : allPages(pages, first, written)
    for (const [page, image] of kept) {
      out.pages.push(page)
      out.images.push(image)
    }
    const pageCount = commits.at(-1)?.[0] ?? 0
    out.steps.push(join(group, joins ? [[pageCount, kept.length]] : commits))
    first += written
  }
  return { steps: out.steps, pages: Uint32Array.from(out.pages), images: Uint32Array.from(out.images) }
}

function canJoin(group: readonly Step[], step: Step, resolutionMs: number | undefined): boolean {
  const other = group.find((one) => !isEmpty(one))
  if (isEmpty(step) && other === undefined) return true
  if (resolutionMs === undefined || periodOf(group[0] as Step, resolutionMs) !== periodOf(step, resolutionMs))
    return false
  return isEmpty(step) || other === undefined || (other.how === step.how && other.reason === step.reason)
}

const periodOf = ({ capturedAt }: Step, resolutionMs: number): number => Math.floor(capturedAt / resolutionMs)

function join(group: readonly Step[], commits: Step['commits']): Step {
  const [first, last] = [group[0] as Step, group.at(-1) as Step]
  const { how, reason } = group.find((step) => !isEmpty(step)) ?? last
  const { lookedAt, capturedAt, after, lastCommit, mark } = last
  return {
    lookedAt,
    capturedAt,
    ...(first.since !== undefined && { since: first.since }),
    how,
    ...(reason !== undefined && { reason }),
    before: first.before,
    after,
    firstCommit: first.firstCommit,
    lastCommit,
    commits,
    ...(mark && { mark }),
  }
}

function allPages(pages: Uint32Array, first: number, written: number): [page: number, image: number][] {
  return Array.from({ length: written }, (_, i) => [pages[first + i] as number, first + i])
}

/** The pages as the last of the commits left them, in the order of their numbers. */
function lastPages(pages: Uint32Array, first: number, commits: Step['commits']): [page: number, image: number][] {
  const { kept, written, fewest, pageCount } = outcomeOf(pages, { first, commits })
  const last: [number, number][] = []
  for (let i = 0; i < written; i++) if (kept[i] === 1) last.push([pages[first + i] as number, first + i])
  last.sort(([a], [b]) => a - b)
  // Pages that were cut off and came back without being written are zeros now, whatever they were before.
  const result = last.filter(([page]) => page <= fewest)
  let next = result.length
  for (let page = fewest + 1; page <= pageCount; page++) {
    const isWritten = last[next]?.[0] === page
    result.push(isWritten ? (last[next++] as [number, number]) : [page, ZERO_IMAGE])
  }
  return result
}
