import type { RecoveryWindow } from '@taskflow-backup/core'
import type { CapturedChain } from './oracle.ts'

/** Something that happened, by the machine's own clock in milliseconds. */
export interface Happening {
  readonly name: string
  readonly from: number
  readonly until: number
}

/** While it lasted, by the machine's own clock, the app's was behind. */
export interface SteppedBack {
  readonly from: number
  until: number
  /** The newest moment that was in a backup before. Who began to follow meanwhile counted on from there or later. */
  readonly captured: number
}

export const BEGUN = 'writing and following begin'
export const FOLLOWER_KILLED = 'the follower is killed'
export const APP_KILLED = 'the app is killed'
export const MODE_CHANGED = 'the journal mode is DELETE for a while'
export const FILE_REPLACED = 'the file is replaced by a restore'

/**
 * When nobody stands on the log for a while, as between the first full and the first look. While somebody does, nothing
 * that happens makes a gap.
 */
const CAUSES = [BEGUN, FOLLOWER_KILLED, APP_KILLED, MODE_CHANGED, FILE_REPLACED]

/** What a new follower says then. It never saw the file or the mode change: it was not there. */
const REASONS = [
  'The write-ahead log was begun anew since the last backup, or belongs to another file.',
  'It is not known where the write-ahead log was at the last backup.',
]

/**
 * Gaps that a window tells, and that nothing which happened explains. Of one that was captured while the app's clock
 * was behind, it is only known that it ended before the clock was right again.
 */
export function unexplainedGaps(
  window: RecoveryWindow,
  chains: readonly CapturedChain[],
  { happened, steppedBack }: { happened: readonly Happening[]; steppedBack: readonly SteppedBack[] },
): string[] {
  const faults: string[] = []
  for (const { chain, gaps } of window.chains) {
    const stored = (chains.find((other) => other.chain === chain)?.gaps ?? []).map(({ after, until, reason }) => ({
      from: Date.parse(after),
      until: Date.parse(until),
      reason,
    }))
    for (const { after, until, reason } of gaps) {
      // A differential divides a gap in the window, and tells nothing of what happened.
      const whole = stored.find((gap) => gap.from <= Number(after) && gap.until >= Number(until))
      const text = `${chain}: the gap from ${after.toISOString()} to ${until.toISOString()}: ${reason}`
      if (!whole || whole.reason !== reason || !REASONS.includes(reason)) {
        faults.push(`${text} It is stored as: ${JSON.stringify(whole)}`)
        continue
      }
      const behind = steppedBack.filter(({ captured, until }) => overlap({ from: captured, until }, whole))
      const stretch = { from: whole.from, until: Math.max(whole.until, ...behind.map(({ until }) => until)) }
      if (!happened.some((event) => CAUSES.includes(event.name) && overlap(event, stretch)))
        faults.push(`${text} Nothing happened then.`)
    }
  }
  return faults
}

type Stretch = Omit<Happening, 'name'>

const overlap = (a: Stretch, b: Stretch): boolean => a.from <= b.until && b.from <= a.until
