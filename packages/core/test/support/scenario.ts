import { type FaultyStorage, faulty, type Ledger, ledger } from '../../../testing/src/index.ts'
import { type BackupPlan, type BackupPlanOptions, defineBackupPlan, memory } from '../../src/index.ts'

/** A ledger, two storages that can be made to fail, and a plan over them. */
export interface Scenario {
  readonly source: Ledger
  readonly first: FaultyStorage
  readonly second: FaultyStorage
  readonly plan: BackupPlan
  planWith(options: Partial<BackupPlanOptions>): BackupPlan
  /** Moves the plan's clock, in milliseconds. */
  advance(ms: number): void
}

/** Starts at noon of 22 November 2026; every look at the clock moves it on by one millisecond. */
export function scenario(entries = 3, options: Partial<BackupPlanOptions> = {}): Scenario {
  let nowMs = Date.UTC(2026, 10, 22, 12)
  const now = () => new Date(nowMs++)
  const source = ledger({ now })
  for (let count = 1; count <= entries; count++) source.append(`entry ${count}`)
  const first = faulty(memory('first'))
  const second = faulty(memory('second'))
  const planWith = (extra: Partial<BackupPlanOptions>) =>
    defineBackupPlan({
      name: 'books',
      adapter: source.adapter,
      destinations: [
        { name: 'first', storage: first },
        { name: 'second', storage: second },
      ],
      lockWaitMs: 50,
      runtime: { now },
      ...options,
      ...extra,
    })
  const advance = (ms: number): void => {
    nowMs += ms
  }
  return { source, first, second, plan: planWith({}), planWith, advance }
}
