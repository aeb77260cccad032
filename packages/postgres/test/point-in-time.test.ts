import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BackupPlan, createBackup, type Manifest, planRecovery } from '@taskflow-backup/core'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { committedEntries, ENTRIES, type Entry, Writers } from './support/entries.ts'
import { physicalPlan, restoredRows } from './support/physical-plan.ts'
import { VERSIONS, type Version, whyNoServer } from './support/programs.ts'
import { type ServerOptions, TestServer } from './support/server.ts'

vi.setConfig({ testTimeout: 1_800_000 })

/** `TASKFLOW_MOMENTS=5` for a quick look. */
const MOMENTS = Number(process.env.TASKFLOW_MOMENTS ?? 20)

const atEnd: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const clear of atEnd.splice(0).reverse()) await clear()
})

async function startServer(version: Version, settings: ServerOptions['settings'] = {}): Promise<TestServer> {
  const server = await TestServer.start(version, {
    lean: true,
    initdb: ['-k', '--wal-segsize=1'],
    settings: {
      track_commit_timestamp: 'on',
      fsync: 'off',
      ...(version >= 17 && { summarize_wal: 'on' }),
      ...settings,
    },
  })
  atEnd.push(() => server.destroy())
  await Writers.createTable(server)
  return server
}

/** Restores to a moment and gives the ids of the rows. */
async function idsAt(plan: BackupPlan, server: TestServer, at?: Date) {
  const to = join(server.folder, `restored-${Math.random().toString(36).slice(2)}`)
  const { rows, result } = await restoredRows<{ id: number }>(plan, { to, ...(at && { at }) }, ENTRIES)
  expect(result.findings.filter(({ severity }) => severity !== 'ok')).toEqual([])
  await rm(to, { recursive: true })
  return { ids: rows.map(({ id }) => id), recovery: result.recovery }
}

/**
 * Every row that was committed until the moment, and none that was committed later.
 *
 * Sessions that commit at the same time may come into the log in another order than their clocks say, and recovery
 * stops at the first commit that is later than its target. So each session may miss the commit that it was at, however
 * long that took on a busy machine. As PostgreSQL itself recovers.
 */
function expectRowsOf(ids: readonly number[], truth: readonly Entry[], at: Date, sessions: number): void {
  const limitUs = at.getTime() * 1000
  const restored = new Set(ids)
  const later = truth.filter(({ id, committedUs }) => restored.has(id) && committedUs > limitUs)
  expect(later, `committed after ${at.toISOString()}`).toEqual([])
  const missing = truth.filter(({ id, committedUs }) => !restored.has(id) && committedUs <= limitUs)
  expect(missing.slice(sessions), `committed before ${at.toISOString()}`).toEqual([])
  expect(restored.size).toBe(ids.length)
}

const momentsBetween = (from: string, to: string, count: number): Date[] =>
  Array.from({ length: count }, () => {
    const [begin, end] = [Date.parse(from), Date.parse(to)]
    return new Date(begin + Math.floor(Math.random() * (end - begin)))
  })

const versions = VERSIONS.filter((version) => {
  const reason = whyNoServer(version)
  if (reason) console.warn(`Recovery to a moment is not tried: ${reason}`)
  return reason === undefined
})

describe.each(versions)('PostgreSQL %s, killed while rows are written and the log is backed up', (version) => {
  test(`is restored to ${MOMENTS} random moments, and to the newest`, async () => {
    const server = await startServer(version)
    const plan = physicalPlan(server)
    const writers = Writers.start(server, 2)
    const full = await createBackup(plan)
    let last: Manifest = full.manifest
    let safe: number[] = []
    const kinds = version >= 17 ? (['log', 'log', 'differential', 'log'] as const) : (['log', 'log', 'log'] as const)
    for (const kind of kinds) {
      await Promise.all([writers.further(50), sleep(500)])
      const before = writers.acknowledged()
      const { manifest } = await createBackup(plan, { kind })
      expect(manifest.kind).toBe(kind)
      if (kind === 'log') [last, safe] = [manifest, before]
    }
    const truth = await committedEntries(server)
    await Promise.all([server.stop('SIGKILL'), writers.stop().catch(() => {})])

    const { ids: newest, recovery } = await idsAt(plan, server)
    expect(recovery.backups.at(-1)?.id).toBe(last.id)
    const held = new Set(newest)
    expect(safe.filter((id) => !held.has(id))).toEqual([])
    expect(safe.length).toBeGreaterThan(100)
    for (const at of momentsBetween(full.manifest.consistentAt, last.consistentAt, MOMENTS)) {
      expectRowsOf((await idsAt(plan, server, at)).ids, truth, at, 2)
    }
  })
})

const [version] = versions.toReversed()
describe.skipIf(version === undefined)('recovery across', () => {
  const newest = version as Version

  test('a promotion to a new timeline', async () => {
    const server = await startServer(newest)
    const plan = physicalPlan(server)
    const writers = Writers.start(server, 1)
    const full = await createBackup(plan)
    await createBackup(plan, { kind: 'log' })
    await writers.stop()
    await server.stop()
    await server.promoteOnNextRun()
    await server.run()
    expect(await server.sql('SELECT timeline_id FROM pg_control_checkpoint()')).toEqual([{ timeline_id: 2 }])
    const promotedAt = Date.now()
    const later = Writers.start(server, 1)
    await Promise.all([later.further(20), sleep(300)])
    await later.stop()
    const safe = later.acknowledged()
    await sleep(300)
    const { manifest } = await createBackup(plan, { kind: 'log' })
    expect(manifest).toMatchObject({ kind: 'log', source: { details: { timeline: 2 } } })
    const truth = await committedEntries(server)
    await server.stop('SIGKILL')

    const { ids } = await idsAt(plan, server)
    expect(ids).toEqual(truth.map(({ id }) => id))
    expect(ids).toEqual(expect.arrayContaining(safe))
    const moments = [
      ...momentsBetween(full.manifest.consistentAt, new Date(promotedAt).toISOString(), 2),
      ...momentsBetween(new Date(promotedAt).toISOString(), manifest.consistentAt, 2),
    ]
    for (const at of moments) expectRowsOf((await idsAt(plan, server, at)).ids, truth, at, 1)
  })

  test('a new full: the time between the last log of one chain and the full of the next', async () => {
    const server = await startServer(newest)
    const plan = physicalPlan(server)
    const writers = Writers.start(server, 1)
    await createBackup(plan)
    const first = await createBackup(plan, { kind: 'log' })
    await Promise.all([writers.further(50), sleep(600)])
    const second = await createBackup(plan)
    await Promise.all([writers.further(20), sleep(300)])
    await createBackup(plan, { kind: 'log' })
    const truth = await committedEntries(server)
    await writers.stop()
    await server.stop('SIGKILL')

    for (const at of momentsBetween(first.manifest.consistentAt, second.manifest.startedAt, 3)) {
      const { ids, recovery } = await idsAt(plan, server, at)
      expect(recovery.reachedAt).toEqual(at)
      expect(new Set(recovery.backups.map(({ chain }) => chain)).size).toBe(2)
      expectRowsOf(ids, truth, at, 1)
    }
  })

  test('a log that was lost: not over the gap, but to the full after it', async () => {
    const server = await startServer(newest)
    const plan = physicalPlan(server)
    const one = await createBackup(plan)
    await server.sql('INSERT INTO entry (at) VALUES (now())')
    await server.sql("SELECT pg_drop_replication_slot('backup')")
    const upgraded = await createBackup(plan, { kind: 'log' })
    expect(upgraded.manifest).toMatchObject({ kind: 'full', requested: { kind: 'log' } })
    const between = new Date(Date.parse(upgraded.manifest.startedAt) - 1)
    expect((await planRecovery(plan, { at: between })).backups.map(({ id }) => id)).toEqual([one.id])
    expect((await idsAt(plan, server)).ids).toEqual([1])
  })
})
