import { parseChanges, storedBackups, storedMember } from './stored.ts'

/** Where the chain before ends and that of `full` begins. */
export interface Seam {
  /** Whether the last log before leads to the state of the full, and the first one after it goes on from there. */
  readonly ends: boolean
  readonly begins: boolean
  readonly firstCommit: number | undefined
  readonly how: readonly string[]
  readonly gaps: number
}

/** What a seam is while somebody follows the log. */
export const WHOLE: Seam = { ends: true, begins: true, firstCommit: 1, how: ['log'], gaps: 0 }

/** `undefined` as long as there is no log after it. */
export function seamAt(root: string, full: string): Seam | undefined {
  const backups = storedBackups(root)
  const at = backups.findIndex(({ manifest }) => manifest.id === full)
  const state = backups[at]?.manifest.source.details?.state
  const before = backups.slice(0, at).findLast(({ manifest }) => manifest.kind === 'log')
  const first = backups.slice(at).find(({ manifest }) => manifest.kind === 'log')
  if (!first) return undefined
  const steps = parseChanges(storedMember(first, '.changes')).steps.map(({ step }) => step)
  return {
    ends: state !== undefined && before?.manifest.source.details?.state === state,
    begins: steps[0]?.before === state,
    firstCommit: steps[0]?.firstCommit,
    how: [...new Set(steps.map(({ how }) => how))],
    gaps: first.manifest.gaps?.length ?? 0,
  }
}
