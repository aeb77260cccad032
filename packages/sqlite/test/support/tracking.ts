import { randomUUID } from 'node:crypto'
import type Database from 'better-sqlite3'
import { expect } from 'vitest'
import type { Step } from '../../src/changes/format.ts'
import { HASH_BYTES } from '../../src/changes/page-table.ts'
import type { Start } from '../../src/child/captured.ts'
import { CaptureClock } from '../../src/child/clock.ts'
import { LogTracker, type TrackerLimits } from '../../src/child/log-tracker.ts'
import { type OpenSource, openSource } from '../../src/child/open-source.ts'
import { takeSnapshot } from '../../src/child/snapshot.ts'
import { applyChanges, decodeChangesFile, tableOf } from './changes.ts'
import type { Place } from './place.ts'

// The tracker in this process, so that a test decides when it looks. No file of a database is ever closed here while
// somebody of this process has it open: that would drop the locks.

export interface State {
  readonly bytes: Buffer
  readonly start: Start
}

/** The newest state of a database, with where a backup of it would begin. */
export function stateOf(file: string, { withMark = true } = {}): State {
  const source = openSource(file, 5_000) as OpenSource & { connection: Database.Database }
  const snapshot = takeSnapshot(source, source.connection, 5_000)
  const { pageSize, pageCount, logMark } = snapshot
  const bytes = snapshot.readPages(1, pageCount)
  snapshot.release()
  const table = tableOf(bytes, pageSize)
  expect(table.bytes.length).toBe(table.pageCount * HASH_BYTES)
  const now = Date.now()
  const start = { table, lastCommit: 0, capturedAt: now, notBefore: now, ...(withMark && logMark && { mark: logMark }) }
  return { bytes, start }
}

export interface Tracking {
  readonly tracker: LogTracker
  /** Everything that is in a backup by now, applied. */
  readonly bytes: Buffer
  readonly steps: readonly Step[]
  /** Writes what is pending as a backup and applies it; gives its steps. `meanwhile` runs before it is committed. */
  store(meanwhile?: () => Promise<void>): Promise<readonly Step[]>
  /** Looks, stores, and holds the result against the database. */
  lookAndCheck(): Promise<readonly Step[]>
}

export interface TrackOptions {
  readonly follow?: boolean
  readonly limits?: Partial<TrackerLimits>
  readonly clock?: CaptureClock
}

export function track(
  place: Place,
  { bytes, start }: State,
  { follow = true, limits, clock = new CaptureClock(start.notBefore, 0) }: TrackOptions = {},
): Tracking {
  const settings = {
    file: place.file,
    busyTimeoutMs: 5_000,
    maxWriterBlockMs: 60_000,
    releaseAfterMs: 60_000,
    temporaryDirectory: place.temporary,
    forceOnlineBackup: false,
  }
  const tracker = new LogTracker(start, { settings, clock, follow, ...(limits && { limits }) })
  place.atEnd(() => tracker.close())
  const all: Step[] = []
  let [current, state, commit] = [bytes, start.table.state, start.lastCommit]
  const tracking = {
    tracker,
    get bytes() {
      return current
    },
    steps: all,
    async store(meanwhile?: () => Promise<void>) {
      const file = place.path(`changes-${randomUUID()}`)
      const writing = tracker.captured.write(file, { algorithm: 'none', level: 0 })
      await meanwhile?.()
      const { log } = await writing
      const decoded = await decodeChangesFile(file)
      const { steps, pageSize } = decoded.index
      for (const { before, after, firstCommit, lastCommit, lookedAt, capturedAt } of steps) {
        expect({ before, firstCommit }).toEqual({ before: state, firstCommit: commit + 1 })
        expect(lookedAt).toBeGreaterThanOrEqual(all.at(-1)?.capturedAt ?? start.capturedAt)
        expect(capturedAt).toBeGreaterThanOrEqual(lookedAt)
        ;[state, commit] = [after, lastCommit]
      }
      current = applyChanges(current, decoded)
      expect(tableOf(current, pageSize).state).toBe(state)
      expect(log).toMatchObject({ state, lastCommit: commit, steps: steps.length, pages: decoded.index.pages.length })
      tracker.captured.committed()
      all.push(...steps)
      return steps
    },
    async lookAndCheck() {
      await tracker.look()
      const steps = await tracking.store()
      expect(current.equals(stateOf(place.file).bytes)).toBe(true)
      return steps
    },
  }
  return tracking
}
