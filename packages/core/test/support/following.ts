import { expect } from 'vitest'
import { collect, type FaultyStorage, readAll } from '../../../testing/src/index.ts'
import {
  type BackupAdapter,
  type BackupEvent,
  type FollowLogOptions,
  type LogFollowing,
  type LogSource,
  listBackups,
  type Manifest,
  restoreBackup,
} from '../../src/index.ts'
import { type FollowParts, followWith } from '../../src/verbs/follow-log.ts'
import type { Scenario } from './scenario.ts'

const PARTS: FollowParts = {
  relistMs: 3_600_000,
  firstRetryMs: 5,
  mostRetryMs: 20,
  mostWaitMs: 20,
  mergeEvery: 3,
  nowMs: () => performance.now(),
}

/** Follows the log of a scenario's plan, and always stops. */
export async function following(
  { plan }: Pick<Scenario, 'plan'>,
  work: (following: LogFollowing, events: BackupEvent[]) => Promise<void>,
  { parts, ...options }: FollowLogOptions & { parts?: Partial<FollowParts> } = {},
): Promise<BackupEvent[]> {
  const events: BackupEvent[] = []
  const onEvent = (event: BackupEvent): void => void events.push(event)
  const followed = await followWith(plan, { everyMs: 10, onEvent, ...options }, { ...PARTS, ...parts })
  try {
    await work(followed, events)
  } finally {
    await followed.stop().catch(() => {})
  }
  return events
}

/** Without the pace of the follower: only `flush` commits. */
export const RARELY = { everyMs: 3_600_000, idleEveryMs: 3_600_000 }

export const loggedIn = (events: readonly BackupEvent[]) => events.filter((event) => event.type === 'logged')
export const warningsIn = (events: readonly BackupEvent[]) =>
  events.flatMap((e) => (e.type === 'warning' ? [e.message] : []))
export const newest = async ({ plan }: Pick<Scenario, 'plan'>) => (await listBackups(plan)).backups.at(-1)
export const locksIn = async (storage: FaultyStorage) =>
  (await collect(storage.list('books/lock-'))).map(({ key }) => key)

export async function manifestOf({ first }: Scenario, id: string): Promise<Manifest> {
  return JSON.parse(String(await readAll(await first.get(`books/${id}/manifest.json`)))) as Manifest
}

export async function assertRestores({ plan, source }: Scenario, to: string): Promise<void> {
  await restoreBackup(plan, { to, overwrite: true })
  expect(source.entries(to)).toEqual(source.entries())
}

/** The adapter of a scenario with another source. */
export function withSource(adapter: BackupAdapter, change: (source: LogSource) => Partial<LogSource>): BackupAdapter {
  return {
    ...adapter,
    async follow(base, settings, ctx) {
      const source = (await adapter.follow?.(base, settings, ctx)) as LogSource
      return { ...source, ...change(source) }
    },
  }
}
