import { expect } from 'vitest'
import { type BackupPlan, createBackup, listBackups, planRecovery, restoreBackup } from '../../src/index.ts'
import { type Scenario, scenario } from './scenario.ts'

/** A scenario whose ledger holds captured moments. */
export function capturing(options: Parameters<typeof scenario>[1] = {}): Scenario {
  const scene = scenario(2, options)
  const adapter = { ...scene.source.adapter, pointInTime: 'captured' as const }
  return { ...scene, plan: scene.planWith({ adapter }), planWith: (extra) => scene.planWith({ adapter, ...extra }) }
}

/** A full and `count` logs a minute apart: every third has two entries, every fifth none. */
export async function history(scene: Scenario, count: number): Promise<Date[]> {
  const { source, plan, advance } = scene
  const ids: string[] = []
  ids.push((await createBackup(plan)).id)
  for (let log = 1; log <= count; log++) {
    advance(60_000)
    if (log % 5 !== 0) source.append(`log ${log}`)
    if (log % 3 === 0) {
      advance(10_000)
      source.append(`log ${log} again`)
    }
    ids.push((await createBackup(plan, { kind: 'log' })).id)
  }
  const full = await planRecovery(plan, { id: ids[0] as string })
  const entries = source.entries() ?? []
  const after = entries.filter(({ at }) => new Date(at) > full.reachedAt).map(({ at }) => new Date(at))
  return [full.reachedAt, ...after]
}

let places = 0

/** A place to restore to that nothing was restored to yet. */
export const newPlace = (): string => `place ${++places}`

export async function assertReaches(scene: Scenario, plan: BackupPlan, moments: readonly Date[]): Promise<void> {
  const live = scene.source.entries() ?? []
  for (const at of moments) {
    const to = newPlace()
    await restoreBackup(plan, { at, to })
    expect(scene.source.entries(to), at.toISOString()).toEqual(live.filter((entry) => new Date(entry.at) <= at))
  }
  const to = newPlace()
  await restoreBackup(plan, { to })
  expect(scene.source.entries(to), 'the newest state').toEqual(live)
}

export const logsOf = async (plan: BackupPlan): Promise<string[]> =>
  (await listBackups(plan)).backups.filter(({ kind }) => kind === 'log').map(({ id }) => id)
