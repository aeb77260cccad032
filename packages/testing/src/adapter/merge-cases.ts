import assert from 'node:assert/strict'
import {
  type BackupPlan,
  type BackupPlanOptions,
  createBackup,
  type MergeOptions,
  mergeLogs,
  planRecovery,
  restoreBackup,
  verifyBackup,
} from '@taskflow-backup/core'
import { adapterCase, type Bench } from './subject.ts'

const YEAR_MS = 366 * 86_400_000

/** A full and four logs, the third of no change, with the moment and the state that each must give back. */
async function logsOf(bench: Bench) {
  const made: { at: Date; state: unknown }[] = []
  for (const kind of ['full', 'log', 'log', 'log', 'log'] as const) {
    if (made.length !== 3) await bench.mutate()
    await bench.tick()
    const state = await bench.state()
    const { manifest } = await createBackup(bench.plan, { kind })
    assert.equal(manifest.kind, kind)
    made.push({ at: new Date(manifest.consistentAt), state })
    await bench.tick()
  }
  return made
}

/** Merges the four logs into one, and gives its id. */
async function mergeAll(plan: BackupPlan, options: MergeOptions = {}): Promise<string> {
  const { merged, removed } = await mergeLogs(plan, { most: 4, ...options })
  assert.equal(merged.length, 1, 'four logs that follow on one another were not made one')
  assert.equal(removed.length, 4, 'the logs that were merged are still there')
  return (merged[0] as (typeof merged)[number]).id
}

async function stateAt(bench: Bench, plan: BackupPlan, at: Date | undefined, name: string): Promise<unknown> {
  const to = await bench.placeFor(name)
  await restoreBackup(plan, { to, ...(at && { at }) })
  return bench.stateOf(to)
}

export const mergeCases = [
  adapterCase(
    'a merged log restores what its logs did, and the next log goes on after it',
    'loses something when it merges logs',
    { kinds: ['log'], methods: ['merge'] },
    async (bench) => {
      const made = await logsOf(bench)
      const id = await mergeAll(bench.plan)
      assert.equal((await planRecovery(bench.plan)).backups.at(-1)?.id, id)
      assert.deepEqual(await stateAt(bench, bench.plan, undefined, 'merged'), made.at(-1)?.state)
      await verifyBackup(bench.plan, { id, level: 'restored' })
      await bench.mutate()
      await bench.tick()
      const state = await bench.state()
      assert.equal((await createBackup(bench.plan, { kind: 'log' })).kind, 'log')
      assert.deepEqual(await stateAt(bench, bench.plan, undefined, 'next'), state)
    },
  ),
  adapterCase(
    'merged logs can be merged again',
    'cannot merge what it merged',
    { kinds: ['log'], methods: ['merge'] },
    async (bench) => {
      const made = await logsOf(bench)
      const { merged } = await mergeLogs(bench.plan, { most: 2 })
      assert.equal(merged.length, 3)
      assert.deepEqual(await stateAt(bench, bench.plan, undefined, 'again'), made.at(-1)?.state)
    },
  ),
  adapterCase(
    'a merged log restores to the moments that its logs did',
    'loses moments when it merges logs',
    { kinds: ['log'], methods: ['merge'], moments: true },
    async (bench) => {
      const made = await logsOf(bench)
      await mergeAll(bench.plan)
      for (const [index, { at, state }] of made.entries())
        assert.deepEqual(await stateAt(bench, bench.plan, at, `moment${index}`), state, `moment ${index}`)
    },
  ),
  adapterCase(
    'a thinned log restores its end, and never something later than was asked for',
    'thins logs wrongly',
    { kinds: ['log'], methods: ['merge'], moments: true },
    async (bench) => {
      const made = await logsOf(bench)
      // As core sees it when all of it is old; one moment in a hundred years is the end of the log.
      const options: Partial<BackupPlanOptions> = {
        adapter: { ...bench.adapter, pointInTime: 'captured' },
        runtime: { now: () => new Date(Date.now() + YEAR_MS) },
      }
      await mergeAll(bench.planWith(options), { everyMoment: '7d', resolutionMs: 100 * YEAR_MS })
      assert.deepEqual(await stateAt(bench, bench.plan, undefined, 'end'), made.at(-1)?.state)
      const [full, first, second] = made as [(typeof made)[0], (typeof made)[0], (typeof made)[0]]
      for (const [index, { at }] of [first, second].entries())
        assert.deepEqual(
          await stateAt(bench, bench.plan, at, `inside${index}`),
          full.state,
          'a moment was not taken out',
        )
    },
  ),
]
