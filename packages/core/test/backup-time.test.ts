import { describe, expect, test } from 'vitest'
import { createBackup, listBackups, mergeLogs, planRecovery, restoreBackup } from '../src/index.ts'
import { timeOf } from '../src/verbs/backup-time.ts'
import { assertRestores, following, RARELY } from './support/following.ts'
import { scenario } from './support/scenario.ts'

describe('the clock was put back', () => {
  test('a new full is the newest all the same, and what comes next continues it', async () => {
    const all = scenario(1)
    await createBackup(all.plan)
    all.source.append('old chain')
    const old = await createBackup(all.plan, { kind: 'log' })
    all.advance(-3_600_000)
    all.source.append('new chain')
    const warnings: string[] = []
    const full = await createBackup(all.plan, {
      onEvent: (event) => event.type === 'warning' && warnings.push(event.message),
    })
    expect(full.id > old.id).toBe(true)
    expect(Date.parse(full.manifest.consistentAt)).toBeGreaterThanOrEqual(Date.parse(old.manifest.consistentAt))
    expect(Date.parse(full.manifest.finishedAt)).toBeLessThan(Date.parse(old.manifest.startedAt))
    expect(full.manifest.notes.filter((note) => note.startsWith('The clock said'))).toEqual(warnings)
    expect(warnings).toHaveLength(1)
    all.source.append('log of the new chain')
    const log = await createBackup(all.plan, { kind: 'log' })
    expect(log.manifest.base?.full).toBe(full.id)
    const { backups } = await listBackups(all.plan)
    expect(backups.slice(-2).map(({ id }) => id)).toEqual([full.id, log.id])
    expect((await planRecovery(all.plan)).backups.at(-1)?.id).toBe(log.id)
    await restoreBackup(all.plan, { to: 'newest' })
    expect(all.source.entries('newest')?.at(-1)?.text).toBe('log of the new chain')
  })

  test('by less than a second it is not told', async () => {
    const all = scenario(1)
    const first = await createBackup(all.plan)
    all.advance(-500)
    const { id, manifest } = await createBackup(all.plan)
    expect(id > first.id).toBe(true)
    expect(manifest.notes).toEqual(first.manifest.notes)
  })

  test('a backup does not take the place of one that was made since the last listing', async () => {
    const all = scenario(1)
    const plan = all.planWith({ runtime: { now: () => new Date(Date.UTC(2026, 10, 22, 12)) } })
    const made: Date[] = []
    for (const kind of ['full', 'log', 'log', 'log'] as const)
      made.push(new Date((await createBackup(plan, { kind })).manifest.startedAt))
    const chain = (await listBackups(plan)).backups[0]?.chain as string
    const [full, , , last] = made as [Date, Date, Date, Date]
    const { startedAt } = await timeOf({ plan, warn: () => {} }, { kind: 'log', chain, after: full })
    expect(startedAt).toEqual(new Date(last.getTime() + 2))
  })

  test('logs have room for those that are merged of them', async () => {
    const all = scenario(1)
    await createBackup(all.plan)
    all.advance(-3_600_000)
    for (let log = 0; log < 3; log++) {
      all.source.append(`log ${log}`)
      await createBackup(all.plan, { kind: 'log' })
    }
    expect((await mergeLogs(all.plan, { most: 3 })).merged).toHaveLength(1)
    await following(
      all,
      async (followed) => {
        for (let log = 3; log < 6; log++) {
          all.source.append(`log ${log}`)
          await followed.flush()
        }
      },
      { ...RARELY, merge: false },
    )
    expect((await mergeLogs(all.plan, { most: 3 })).merged).toHaveLength(1)
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'log'])
    await assertRestores(all, 'copy')
  })
})
