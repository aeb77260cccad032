import assert from 'node:assert/strict'
import {
  createBackup,
  type Finding,
  type JsonValue,
  restoreBackup,
  undoRestore,
  type VerificationLevel,
  verifyBackup,
} from '@taskflow-backup/core'
import { rejects } from '../expect.ts'
import { adapterCase, assertLoopIsFree, type Bench, contextOf } from './subject.ts'

const FAILED: readonly Finding[] = [{ check: 'app', severity: 'error', message: 'not what the app expects' }]
const LEVELS: readonly VerificationLevel[] = ['stored', 'decoded', 'restored']

async function restoredState(bench: Bench, id: string, name: string): Promise<unknown> {
  const to = await bench.placeFor(name)
  await restoreBackup(bench.plan, { id, to })
  return bench.stateOf(to)
}

const withoutLeftovers = async ({ leftovers }: Bench): Promise<void> => {
  if (leftovers) assert.deepEqual(await leftovers(), [], 'something is left')
}

export const restoreCases = [
  adapterCase('describe answers what the source is', 'says nothing about its source', {}, async ({ adapter, plan }) => {
    const facts = await adapter.describe(contextOf(plan))
    assert.ok(facts.name.length > 0, 'no name')
    assert.ok(facts.engineVersion.length > 0, 'no version')
    if (facts.sizeBytes !== undefined)
      assert.ok(Number.isSafeInteger(facts.sizeBytes) && facts.sizeBytes >= 0, 'no size')
    assert.deepEqual(JSON.parse(JSON.stringify(facts)), facts, 'the facts are not plain data')
  }),
  adapterCase(
    'a full backup restored to a new place is the state at backup',
    'loses or changes content',
    {},
    async (bench) => {
      const state = await bench.state()
      const { id } = await createBackup(bench.plan)
      assert.deepEqual(await bench.state(), state, 'the backup changed the live database')
      assert.deepEqual(await restoredState(bench, id, 'copy'), state)
      await withoutLeftovers(bench)
    },
  ),
  adapterCase('a restore to a place leaves the live database alone', 'ignores the target', {}, async (bench) => {
    const { id } = await createBackup(bench.plan)
    await bench.mutate()
    const live = await bench.state()
    const to = await bench.placeFor('copy')
    const { undo } = await restoreBackup(bench.plan, { id, to })
    assert.deepEqual(await bench.state(), live)
    await bench.stateOf(to)
    await undoRestore(bench.plan, undo)
    assert.deepEqual(await bench.state(), live, 'undoing it touched the live database')
    await assert.rejects(
      async () => assert.notEqual(await bench.stateOf(to), undefined),
      'the place is still there after undo',
    )
  }),
  adapterCase('an old backup restores the old state', 'restores the newest, or the live state', {}, async (bench) => {
    const first = await bench.state()
    const { id: old } = await createBackup(bench.plan)
    await bench.mutate()
    const second = await bench.state()
    assert.notDeepEqual(second, first, 'mutate() of the subject changes nothing')
    const { id: recent } = await createBackup(bench.plan)
    assert.deepEqual(await restoredState(bench, old, 'old'), first)
    assert.deepEqual(await restoredState(bench, recent, 'recent'), second)
  }),
  adapterCase(
    'a restore over the live database can be undone, and the undoing too',
    'loses what was live',
    {},
    async (bench) => {
      const backedUp = await bench.state()
      const { id } = await createBackup(bench.plan)
      await bench.mutate()
      const live = await bench.state()
      const { undo } = await restoreBackup(bench.plan, { id })
      assert.deepEqual(await bench.state(), backedUp, 'the restored state')
      assert.deepEqual(JSON.parse(JSON.stringify(undo)), undo, 'the record is not plain data')
      const redo = await undoRestore(bench.plan, undo)
      assert.deepEqual(await bench.state(), live, 'the state after undo')
      await undoRestore(bench.plan, redo)
      assert.deepEqual(await bench.state(), backedUp, 'the state after undo of undo')
      await bench.mutate()
      assert.notDeepEqual(await bench.state(), backedUp, 'the restored database cannot be changed')
    },
  ),
  adapterCase(
    'a failed check leaves the live database untouched',
    'replaces the live database before its check',
    {},
    async (bench) => {
      const { id } = await createBackup(bench.plan)
      await bench.mutate()
      const live = await bench.state()
      const seen: unknown[] = []
      const check = async ({ location }: { location: string }) => {
        seen.push(await bench.state(), await bench.stateOf(location))
        return FAILED
      }
      await rejects(restoreBackup(bench.plan, { id, checks: [check] }), 'the restore', 'RESTORE_CHECK_FAILED')
      assert.deepEqual(seen[0], live, 'the live database was touched before the check')
      assert.notDeepEqual(seen[1], live, 'the check saw the live database, not the restored one')
      assert.deepEqual(await bench.state(), live)
      await withoutLeftovers(bench)
    },
  ),
  adapterCase(
    'a failed check leaves nothing at the place',
    'leaves a database that did not pass',
    {},
    async (bench) => {
      const { id } = await createBackup(bench.plan)
      const to = await bench.placeFor('copy')
      await rejects(
        restoreBackup(bench.plan, { id, to, checks: [async () => FAILED] }),
        'the restore',
        'RESTORE_CHECK_FAILED',
      )
      await withoutLeftovers(bench)
      await restoreBackup(bench.plan, { id, to })
      assert.deepEqual(await bench.stateOf(to), await bench.state())
    },
  ),
  adapterCase('discard removes the staged database', 'leaves the staged database', {}, async (bench) => {
    const { id } = await createBackup(bench.plan)
    let staged: JsonValue = null
    const check = async ({ location }: { location: string }) => {
      staged = location
      return FAILED
    }
    await rejects(restoreBackup(bench.plan, { id, checks: [check] }), 'the restore', 'RESTORE_CHECK_FAILED')
    await assert.rejects(
      async () => assert.notEqual(await bench.stateOf(staged), undefined),
      'the staged database is still there',
    )
    await withoutLeftovers(bench)
  }),
  adapterCase('an existing place is refused without overwrite', 'overwrites a database unasked', {}, async (bench) => {
    const { id } = await createBackup(bench.plan)
    const to = await bench.placeFor('copy')
    await restoreBackup(bench.plan, { id, to })
    const there = await bench.stateOf(to)
    await bench.mutate()
    const { id: second } = await createBackup(bench.plan)
    await rejects(restoreBackup(bench.plan, { id: second, to }), 'the second restore', 'TARGET_EXISTS')
    assert.deepEqual(await bench.stateOf(to), there)
    const { undo } = await restoreBackup(bench.plan, { id: second, to, overwrite: true })
    assert.deepEqual(await bench.stateOf(to), await bench.state())
    await undoRestore(bench.plan, undo)
    assert.deepEqual(await bench.stateOf(to), there, 'what was overwritten did not come back')
    await withoutLeftovers(bench)
  }),
  adapterCase('an undo record that leads nowhere is refused', 'undoes nothing without a word', {}, async (bench) => {
    const live = await bench.state()
    const target = String(await bench.placeFor('never'))
    const record = {
      engine: bench.adapter.engine,
      target,
      kept: `${target}.gone`,
      promotedAt: new Date(0).toISOString(),
    }
    await rejects(undoRestore(bench.plan, record), 'the undo', 'UNDO_IMPOSSIBLE')
    assert.deepEqual(await bench.state(), live)
  }),
  ...LEVELS.map((level) =>
    adapterCase(
      `a backup passes verification at level ${level}`,
      `fails its own verification (${level})`,
      {},
      async (bench) => {
        const live = await bench.state()
        const { id } = await createBackup(bench.plan)
        const report = await verifyBackup(bench.plan, { id, level })
        assert.deepEqual(
          report.destinations.map(({ passed }) => passed),
          [true],
        )
        assert.deepEqual(await bench.state(), live, 'verification touched the live database')
        await withoutLeftovers(bench)
      },
    ),
  ),
  adapterCase(
    'a backup of a damaged database does not pass for a good one',
    'does not check what it restored',
    { methods: ['corrupt'] },
    async (bench) => {
      await bench.corrupt?.()
      const made = await createBackup(bench.plan).catch(() => undefined)
      if (!made) return
      await rejects(
        verifyBackup(bench.plan, { id: made.id, level: 'restored' }),
        'the verification',
        'VERIFICATION_FAILED',
      )
      const to = await bench.placeFor('copy')
      await rejects(restoreBackup(bench.plan, { id: made.id, to }), 'the restore')
      await withoutLeftovers(bench)
    },
  ),
  adapterCase('nothing holds the event loop after the verbs', 'keeps a timer, socket or process', {}, async (bench) => {
    const before = process.getActiveResourcesInfo()
    const { id } = await createBackup(bench.plan)
    await verifyBackup(bench.plan, { id, level: 'restored' })
    await restoreBackup(bench.plan, { id, to: await bench.placeFor('copy') })
    await assertLoopIsFree(before)
  }),
]
