import { setTimeout as sleep } from 'node:timers/promises'
import { type BackupError, type OpenBackup, planRecovery, restoreBackup } from '@taskflow-backup/core'
import { afterEach, describe, expect, test } from 'vitest'
import { readSteps } from '../src/restore/roll.ts'
import { planStops } from '../src/restore/stops.ts'
import { LIVE, type RestoreSite, restoreSite } from './support/restore-site.ts'

let site: RestoreSite
afterEach(() => site?.destroy())

const titles = (database: string): unknown[] =>
  site.server.rows(database).map((row) => (row as { title: string }).title)

/** A moment that the server's clock tells apart from what was before and what comes after. */
async function moment(): Promise<Date> {
  await sleep(10)
  const at = new Date(site.server.clock.utcMs)
  await sleep(10)
  return at
}

async function restoredAt(at: Date, to: string): Promise<unknown[]> {
  await restoreBackup(site.plan(), { at, to, onEvent: site.onEvent })
  return titles(to)
}

describe('fake SQL Server: a restore to a moment', () => {
  test('stops in the log before the last, when that went on after the moment while it was being backed up', async () => {
    site = await restoreSite({ timeZoneOffsetMinutes: -210 })
    site.insert('before')
    await site.backup('full')
    site.insert('early')
    // A hundred reports of progress at 3 ms each: what is committed meanwhile is in this log.
    site.server.engine.stepMs = 3
    const backup = site.backup('log')
    await expect.poll(() => site.server.statements().some((text) => text.startsWith('BACKUP LOG'))).toBe(true)
    const at = await moment()
    site.insert('while the log was being backed up')
    await backup
    site.server.engine.stepMs = 0
    site.insert('late')
    await site.backup('log')
    const { backups } = await planRecovery(site.plan(), { at })
    expect(backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'log'])
    expect(await restoredAt(at, 'copy')).toEqual(['before', 'early'])
    expect(await restoredAt(await moment(), 'whole')).toEqual([
      'before',
      'early',
      'while the log was being backed up',
      'late',
    ])
    expect(await site.files()).toEqual([])
  })

  test.each([
    ['back', 120, 60, 2],
    ['ahead', 60, 120, 0],
  ])('is right on both sides of the clock being put %s between two logs', async (_, before, after, hoursLater) => {
    site = await restoreSite({ timeZoneOffsetMinutes: before })
    await site.backup('full')
    const steps: { readonly at: Date; readonly rows: readonly unknown[] }[] = []
    const step = async (title: string): Promise<void> => {
      site.insert(title)
      steps.push({ at: await moment(), rows: titles(LIVE) })
    }
    await step('a')
    await step('b')
    await site.backup('log')
    site.server.clock.utcOffsetMinutes = after
    site.insert('in the log in which the clock was changed')
    await site.backup('log')
    // Put back, it shows an hour twice, see below.
    site.server.clock.advance(hoursLater * 3_600_000)
    await step('c')
    await step('d')
    await site.backup('log')
    for (const [index, { at, rows }] of steps.entries()) expect(await restoredAt(at, `copy ${index}`)).toEqual(rows)
    expect(site.warnings).toEqual([])
  })

  test('in the hour that the clock shows twice, of which the first is in an earlier log, is refused', async () => {
    site = await restoreSite({ timeZoneOffsetMinutes: 120 })
    await site.backup('full')
    site.insert('a')
    await site.backup('log')
    site.server.clock.utcOffsetMinutes = 60
    await moment()
    site.insert('b')
    const at = await moment()
    await site.backup('log')
    expect(await restoredAt(at, 'copy').catch((error: BackupError) => error.code)).toBe('POINT_UNREACHABLE')
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
  })

  test('never restores what came later when the clock was put back within the log, and says so', async () => {
    site = await restoreSite({ timeZoneOffsetMinutes: 120 })
    await site.backup('full')
    site.server.clock.advance(2 * 3_600_000)
    site.insert('a')
    await moment()
    site.server.clock.utcOffsetMinutes = 60
    site.insert('b')
    const at = await moment()
    site.insert('c')
    await site.backup('log')
    // By the wall clock, `a` is later than `at`: what is restored ends before it.
    expect(await restoredAt(at, 'copy')).toEqual([])
    expect(site.warnings.join()).toContain('clock of the server was changed')
  })

  test('a moment inside of a log with bulk changes is refused, the end of that log is not', () => {
    const step = (kind: string, more: object): OpenBackup =>
      ({
        manifest: {
          id: `the ${kind}`,
          kind,
          source: {
            details: {
              mode: 'mssql',
              database: 'd',
              serverName: 's',
              firstLsn: '1',
              lastLsn: '2',
              checkpointLsn: '1',
              databaseBackupLsn: '0',
              utcOffsetMinutesBefore: 0,
              utcOffsetMinutesAfter: 0,
              files: [],
              ...more,
            },
          },
        },
      }) as unknown as OpenBackup
    const backups = [step('full', {}), step('log', { bulkLogged: true })]
    const at = (list: readonly OpenBackup[]) => planStops(readSteps(list), { kind: 'time', at: new Date() })
    expect(() => at(backups)).toThrow(
      expect.objectContaining({ code: 'POINT_UNREACHABLE', message: expect.stringContaining('the log') }),
    )
    expect(planStops(readSteps(backups), undefined)(1, () => {})).toBeUndefined()
    expect(at([...backups, step('log', { consistentAt: '2026-01-01' })])(1, () => {})).toBeUndefined()
  })
})
