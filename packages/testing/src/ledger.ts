import type { BackupAdapter } from '@taskflow-backup/core'
import { ledgerAdapter } from './ledger-adapter.ts'
import { LedgerDatabases, LIVE } from './ledger-databases.ts'
import type { LedgerFollower } from './ledger-follow.ts'
import type { LedgerEntry } from './ledger-format.ts'

/** What {@link ledger} takes. */
export interface LedgerOptions {
  /** Clock of the engine, which stamps the entries. Default: the system's. */
  readonly now?: () => Date
  /** Entries in one member of a backup; more than this make a second one. Default: 50. */
  readonly entriesPerMember?: number
  /** What the adapter says of itself; of `captured` its logs can be thinned by `mergeLogs`. Default: true. */
  readonly pointInTime?: true | 'captured'
}

/** A small database engine in memory: an append-only list of committed entries. */
export interface Ledger {
  /** Makes full, differential and log backups, and restores to a point in time. */
  readonly adapter: BackupAdapter
  /** Commits one entry. */
  append(text: string): void
  /** What is committed at `place`; in the live ledger without it. `undefined` when there is nothing. */
  entries(place?: string): readonly LedgerEntry[] | undefined
  /** Every place that holds a ledger, kept and staged ones included. */
  places(): readonly string[]
  /** Forgets what log backups need of what is committed so far: the next log cannot continue its chain. */
  truncateLog(): void
  /** Lets the next backup fail in the middle of a member. */
  failSource(): void
  /** Ends those who follow the log, as a crash would. */
  killFollowers(): void
  /** How many follow the log now. */
  followers(): number
  /** Gives the second entry the number of the first: the engine's own check finds it. */
  corrupt(): void
}

/**
 * Makes a ledger: the smallest engine with which everything of core can be tested for real. Nothing in it is faked; its
 * members are the lines of JSON that {@link LedgerEntry} and `LedgerHeader` describe.
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, memory, restoreBackup } from '@taskflow-backup/core'
 * import { ledger } from '@taskflow-backup/testing'
 *
 * const source = ledger()
 * source.append('first')
 * const plan = defineBackupPlan({ name: 'books', adapter: source.adapter, destinations: [memory()] })
 * await createBackup(plan)
 * await restoreBackup(plan, { to: 'copy' })
 * console.log(source.entries('copy')?.map(({ text }) => text)) // [ 'first' ]
 * ```
 */
export function ledger(options: LedgerOptions = {}): Ledger {
  const { now = () => new Date(), entriesPerMember = 50, pointInTime = true } = options
  const databases = new LedgerDatabases()
  const followers = new Set<LedgerFollower>()
  let failing = false
  const fails = (): boolean => {
    const failsNow = failing
    failing = false
    return failsNow
  }
  return {
    adapter: ledgerAdapter({ databases, followers, entriesPerMember, pointInTime, now, fails }),
    append(text) {
      const { entries } = databases.live()
      entries.push({ sequence: entries.length + 1, at: now().toISOString(), text })
    },
    entries: (place = LIVE) => databases.at(place)?.entries.slice(),
    places: () => databases.places(),
    truncateLog() {
      const database = databases.live()
      database.entries.push({ sequence: database.entries.length + 1, at: now().toISOString(), text: 'log truncated' })
      database.logFloor = database.entries.length
    },
    failSource() {
      failing = true
    },
    killFollowers() {
      for (const follower of followers) follower.kill()
    },
    followers: () => followers.size,
    corrupt() {
      const { entries } = databases.live()
      const [first, second] = entries
      if (first && second) entries[1] = { ...second, sequence: first.sequence }
    },
  }
}
