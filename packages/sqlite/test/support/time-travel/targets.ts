import { createHash } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { type BackupPlan, type RecoveryWindow, restoreBackup } from '@taskflow-backup/core'
import { readHistory } from './history.ts'
import type { CapturedChain, CapturedState } from './oracle.ts'

/** Moments at which a restore could go wrong: between two captured states, at one, and just beside one. */
export function randomMoment(chains: readonly CapturedChain[], random: () => number): Date {
  const states = chains.flatMap(({ full, steps, differentials }) => [full, ...steps, ...differentials])
  const state = states[Math.floor(random() * states.length)] as CapturedState
  const near = random()
  if (near < 0.2) return new Date(state.time)
  if (near < 0.4) return new Date(state.time + 1)
  const first = Math.min(...chains.map(({ full }) => full.time))
  if (near < 0.6) return new Date(Math.max(first, state.time - 1))
  const last = Math.max(...states.map(({ time }) => time))
  return new Date(first + Math.floor(random() * (last - first + 2000)))
}

/** The newest chain that begins before `at`. */
export function chainAt(chains: readonly CapturedChain[], at: number): CapturedChain {
  const chain = chains.findLast(({ full }) => full.time <= at)
  if (!chain) throw new Error(`No chain begins before ${new Date(at).toISOString()}`)
  return chain
}

/** The states to which a restore to `at` may lead: the newest captured one, of the newest chain that begins before. */
export function statesAt(chains: readonly CapturedChain[], at: number): CapturedState[] {
  const chain = chainAt(chains, at)
  // The steps follow on one another; among them it is always the last.
  const newest = chain.steps.findLast(({ time }) => time <= at) ?? chain.full
  // A differential is looked at beside them: when both happened at the same time, nobody can say which is newer.
  const differentials = chain.differentials.filter(({ time }) => time <= at && time >= newest.lookedAt)
  const latest = differentials.at(-1)
  if (!latest) return [newest]
  return latest.time > newest.time && !mayBeMisdated(latest, chain) ? [latest] : [newest, latest]
}

/**
 * A differential from while the clock was put back may hold what was committed after its time: then logs lead to it. A
 * step after it that is before it shows that, unless the file was replaced in between.
 */
function mayBeMisdated(differential: CapturedState, { steps }: CapturedChain): boolean {
  const next = steps.find(({ time }) => time > differential.time)
  return next !== undefined && next.mark.commits < differential.mark.commits
}

export interface Restored {
  readonly sha256: string
  readonly faults: readonly string[]
}

type Target = Parameters<typeof restoreBackup>[1]

/** Restores to a file of its own, looks into it, and removes it. */
export async function restoreTo(
  plan: BackupPlan,
  file: string,
  { stopAtCommit, ...target }: Omit<NonNullable<Target>, 'to'> & { readonly stopAtCommit?: number },
): Promise<Restored> {
  await restoreBackup(plan, { ...target, to: stopAtCommit === undefined ? file : { file, stopAtCommit } })
  try {
    const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex')
    const { integrity, faults } = readHistory(file)
    return { sha256, faults: [...(integrity === 'ok' ? [] : [integrity]), ...faults] }
  } finally {
    for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true })
  }
}

/** How the window that a plan tells differs from what is stored. */
export function windowFaults(window: RecoveryWindow, chains: readonly CapturedChain[]): string[] {
  const faults: string[] = []
  for (const { chain, gaps, steps, full, differentials } of chains) {
    const told = window.chains.find((other) => other.chain === chain)
    if (!told) {
      faults.push(`chain ${chain} is missing`)
      continue
    }
    const end = Math.max(...[full, ...steps, ...differentials].map(({ time }) => time))
    if (told.first.getTime() !== full.time) faults.push(`${chain} begins ${told.first.toISOString()}`)
    if (told.last.getTime() !== end) faults.push(`${chain} ends ${told.last.toISOString()}`)
    for (const { after, until, reason } of gaps) {
      const [a, b] = [Date.parse(after), Date.parse(until)]
      if (a === b) continue // nothing lies in between
      const inside = told.stretches.filter(({ from, to }) => from < to && Number(from) < b && Number(to) > a)
      if (inside.length > 0) faults.push(`${chain}: a stretch goes over the gap from ${after} to ${until}`)
      const named = told.gaps.some((gap) => Number(gap.after) >= a && Number(gap.until) <= b && gap.reason === reason)
      if (!named) faults.push(`${chain}: the gap from ${after} to ${until} is not told: ${reason}`)
    }
    for (const { after, until, reason } of told.gaps) {
      const known = gaps.some((gap) => Date.parse(gap.after) <= Number(after) && Date.parse(gap.until) >= Number(until))
      if (!known) faults.push(`${chain}: there is no gap from ${after.toISOString()}: ${reason}`)
    }
  }
  return faults
}
