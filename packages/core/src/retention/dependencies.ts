import { guard, isKept, type Verdict } from './verdict.ts'

/** The verdicts of one chain, which is a folder. */
export interface Chain {
  /** One in every chain that is whole. */
  readonly fulls: readonly Verdict[]
  /** Differentials and logs, newest first. */
  readonly dependants: readonly Verdict[]
}

/** Chains with at least one differential or log, by name. `verdicts` are newest first. */
export function chainsWithDependants(verdicts: readonly Verdict[]): Map<string, Chain> {
  const chains = new Map<string, { fulls: Verdict[]; dependants: Verdict[] }>()
  for (const verdict of verdicts) {
    if (verdict.entry.kind === 'full') continue
    const chain = chains.get(verdict.entry.chain)
    if (chain === undefined) chains.set(verdict.entry.chain, { fulls: [], dependants: [verdict] })
    else chain.dependants.push(verdict)
  }
  if (chains.size === 0) return chains
  for (const verdict of verdicts) {
    if (verdict.entry.kind === 'full') chains.get(verdict.entry.chain)?.fulls.push(verdict)
  }
  return chains
}

/**
 * Guards what kept backups of a chain depend on, as far as the listing alone tells.
 *
 * A differential depends on its chain's full. A log depends on the full, on the newest differential before it and on
 * every log between the two; in a chain without a differential before it, on every log before it. A manifest may ask
 * for less (when a log was made useless by a gap), never for more. When by an accident a folder has two fulls, both
 * are taken to be needed.
 */
export function guardDependencies({ fulls, dependants }: Chain): void {
  let needsFull: string | undefined
  // A kept log that still looks for what it continues.
  let openLog: string | undefined
  for (const verdict of dependants) {
    const { id, kind } = verdict.entry
    if (!isKept(verdict)) {
      if (openLog === undefined) continue
      guard(verdict, `needed by ${openLog}`)
    }
    needsFull = id
    // A differential holds everything since the full: what is older is not needed through it.
    openLog = kind === 'log' ? id : undefined
  }
  if (needsFull === undefined) return
  for (const full of fulls) if (!isKept(full)) guard(full, `needed by ${needsFull}`)
}
