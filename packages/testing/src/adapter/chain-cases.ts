import assert from 'node:assert/strict'
import { type BackupKind, createBackup, planRecovery, restoreBackup, verifyBackup } from '@taskflow-backup/core'
import { rejects } from '../expect.ts'
import { adapterCase, type Bench } from './subject.ts'

/** Makes one backup after a change, and remembers the state that it must give back. */
async function take(bench: Bench, kind: BackupKind, change = true) {
  if (change) await bench.mutate()
  await bench.tick()
  const state = await bench.state()
  const { id, manifest } = await createBackup(bench.plan, { kind })
  return { id, manifest, state }
}

async function assertRestores(bench: Bench, id: string, state: unknown, name: string): Promise<void> {
  const to = await bench.placeFor(name)
  await restoreBackup(bench.plan, { id, to })
  assert.deepEqual(await bench.stateOf(to), state, `${id} restored another state`)
}

async function removeFromStorage(bench: Bench, id: string): Promise<void> {
  for (const key of await bench.keys()) if (key.includes(`/${id}/`)) await bench.storage.delete(key)
}

const CHAIN: readonly BackupKind[] = ['full', 'log', 'differential', 'log', 'log', 'differential', 'log']

export const chainCases = [
  adapterCase(
    'every kind of the adapter makes that kind',
    'makes another kind than was asked for',
    {},
    async (bench) => {
      for (const kind of ['full', ...bench.adapter.kinds] as const) {
        const { manifest } = await take(bench, kind)
        assert.equal(manifest.kind, kind)
        assert.equal(manifest.requested, undefined)
      }
    },
  ),
  adapterCase(
    'every backup of a chain restores its own state',
    'restores another state of the chain',
    {},
    async (bench) => {
      const made = []
      for (const kind of CHAIN.filter((one) => bench.adapter.kinds.includes(one))) made.push(await take(bench, kind))
      for (const [index, { id, state }] of made.entries()) await assertRestores(bench, id, state, `chain${index}`)
      const last = made.at(-1)
      await verifyBackup(bench.plan, { level: 'restored' })
      const recovery = await planRecovery(bench.plan)
      assert.equal(recovery.backups.at(-1)?.id, last?.id, 'the newest backup is not what a plain restore uses')
    },
  ),
  adapterCase('positions are ordered as the history was', 'compares positions wrongly', {}, async (bench) => {
    const { comparePositions } = bench.adapter
    const made = []
    for (let round = 0; round < 3; round++) made.push((await take(bench, 'full')).manifest.position)
    const [first, second, third] = made.map(({ end }) => end) as [string, string, string]
    assert.ok(
      comparePositions(first, second) < 0 && comparePositions(second, third) < 0 && comparePositions(first, third) < 0,
      'not ascending',
    )
    assert.ok(comparePositions(third, first) > 0, 'not antisymmetric')
    assert.equal(comparePositions(first, first), 0)
    for (const { begin } of made) assert.equal(begin, undefined, 'a full backup has no begin')
  }),
  adapterCase(
    'log backups follow on one another',
    'leaves a gap between log backups',
    { kinds: ['log'] },
    async (bench) => {
      const { comparePositions } = bench.adapter
      let { end } = (await take(bench, 'full')).manifest.position
      for (let round = 0; round < 3; round++) {
        const { position } = (await take(bench, 'log')).manifest
        assert.ok(
          position.begin !== undefined && comparePositions(position.begin, end) <= 0,
          'a log begins after the end of the one before',
        )
        assert.ok(
          comparePositions(position.end, end) > 0,
          'a log ends where it began, although something was committed',
        )
        end = position.end
      }
    },
  ),
  adapterCase(
    'a differential is against the full, not the last backup',
    'needs more than its full',
    { kinds: ['differential'] },
    async (bench) => {
      await take(bench, 'full')
      const middle = await take(bench, 'differential')
      const last = await take(bench, 'differential')
      await removeFromStorage(bench, middle.id)
      await assertRestores(bench, last.id, last.state, 'last')
    },
  ),
  ...(['differential', 'log'] as const).map((kind) =>
    adapterCase(
      `a ${kind} of no change can be made and restored`,
      `cannot make or restore an empty ${kind}`,
      { kinds: [kind] },
      async (bench) => {
        await take(bench, 'full')
        const first = await take(bench, kind, false)
        const second = await take(bench, kind, false)
        const third = await take(bench, kind)
        for (const [index, { id, state }] of [first, second, third].entries())
          await assertRestores(bench, id, state, `still${index}`)
      },
    ),
  ),
  adapterCase(
    'a log after a missing one is not restored',
    'restores over a gap in the log',
    { kinds: ['log'] },
    async (bench) => {
      await take(bench, 'full')
      const first = await take(bench, 'log')
      const second = await take(bench, 'log')
      await removeFromStorage(bench, first.id)
      const to = await bench.placeFor('gap')
      await rejects(restoreBackup(bench.plan, { id: second.id, to }), 'the restore', 'POINT_UNREACHABLE')
      const third = await take(bench, 'log')
      if (third.manifest.kind === 'full') return assertRestores(bench, third.id, third.state, 'upgraded')
      await rejects(restoreBackup(bench.plan, { id: third.id, to }), 'the restore', 'POINT_UNREACHABLE')
    },
  ),
  adapterCase(
    'a log that cannot continue its chain becomes a full',
    'makes a log with a gap',
    { kinds: ['log'], methods: ['breakLog'] },
    async (bench) => {
      await take(bench, 'full')
      await bench.breakLog?.()
      const strict = bench.planWith({ strictKinds: true })
      const before = await bench.keys()
      await rejects(createBackup(strict, { kind: 'log' }), 'the log backup', 'BASE_UNUSABLE')
      assert.deepEqual(await bench.keys(), before, 'the refused backup left something')
      const { id, manifest, state } = await take(bench, 'log')
      assert.equal(manifest.kind, 'full')
      assert.equal(manifest.requested?.kind, 'log')
      await assertRestores(bench, id, state, 'upgraded')
    },
  ),
  ...(['differential', 'log'] as const).map((kind) =>
    adapterCase(
      `a ${kind} after a restore does not continue the old history`,
      `mixes two histories in a ${kind}`,
      { kinds: [kind] },
      async (bench) => {
        const old = await take(bench, 'full')
        await take(bench, 'full')
        const before = await take(bench, kind)
        await restoreBackup(bench.plan, { id: old.id })
        await bench.mutate()
        await bench.mutate()
        const after = await take(bench, kind)
        await assertRestores(bench, after.id, after.state, 'after')
        await assertRestores(bench, before.id, before.state, 'before')
      },
    ),
  ),
  adapterCase(
    'a restore to a moment gives the state at that moment',
    'ignores the moment, or misses it',
    { kinds: ['log'], pointInTime: true },
    async (bench) => {
      await take(bench, 'full')
      const moments: { at: Date; state: unknown }[] = []
      for (const kind of [undefined, 'log', undefined, undefined, 'log'] as const) {
        await bench.mutate()
        await bench.tick()
        moments.push({ at: new Date(), state: await bench.state() })
        await bench.tick()
        if (kind) await createBackup(bench.plan, { kind })
      }
      for (const [index, { at, state }] of moments.entries()) {
        const to = await bench.placeFor(`moment${index}`)
        const { recovery } = await restoreBackup(bench.plan, { at, to })
        assert.deepEqual(await bench.stateOf(to), state, `moment ${index}`)
        assert.ok(recovery.reachedAt <= at, 'it claims to have gone further than it was told')
      }
    },
  ),
]
