import assert from 'node:assert/strict'
import {
  type BackupPlan,
  createBackup,
  type FollowLogOptions,
  followLog,
  type LogFollowing,
  listBackups,
  restoreBackup,
} from '@taskflow-backup/core'
import { rejects, settled } from '../expect.ts'
import { faulty } from '../faulty.ts'
import { adapterCase, assertLoopIsFree, type Bench } from './subject.ts'

const EVERY_MS = 50

/** Follows for as long as `work` takes. */
async function whileFollowed(
  bench: Bench,
  work: (following: LogFollowing) => Promise<void>,
  { plan = bench.plan, ...options }: FollowLogOptions & { plan?: BackupPlan } = {},
): Promise<void> {
  const following = await followLog(plan, { everyMs: EVERY_MS, merge: false, ...options })
  try {
    await work(following)
  } catch (error) {
    await following.stop().catch(() => {}) // what went wrong before is worth telling
    throw error
  }
  await soon(following.stop(), 'stop')
}

/** Changes the database and flushes: what was committed last, and the state that it must give back. */
async function log(bench: Bench, following: LogFollowing): Promise<{ id: string; state: unknown }> {
  await bench.mutate()
  await bench.tick()
  const state = await bench.state()
  await soon(following.flush(), 'flush')
  return { id: (await following.health()).backupId ?? 'none', state }
}

async function assertRestores(bench: Bench, id: string, state: unknown, name: string): Promise<void> {
  const to = await bench.placeFor(name)
  await restoreBackup(bench.plan, { id, to })
  assert.deepEqual(await bench.stateOf(to), state, `${id} restored another state`)
}

async function soon(work: Promise<void>, what: string): Promise<void> {
  const outcome = await settled(work, what)
  if ('error' in outcome) throw outcome.error
}

export const followCases = [
  adapterCase(
    'what is committed while the log is followed is restorable',
    'loses what is committed while it follows',
    { kinds: ['log'], follow: true },
    async (bench) => {
      await createBackup(bench.plan)
      const made: { id: string; state: unknown }[] = []
      await whileFollowed(bench, async (following) => {
        for (let round = 0; round < 4; round++) made.push(await log(bench, following))
        // What nobody flushes is stored all the same.
        await bench.mutate()
        await bench.tick()
        const before = (await following.health()).backupId
        for (let round = 0; round < 400 && (await following.health()).backupId === before; round++) await bench.tick()
        made.push({ id: (await following.health()).backupId ?? 'none', state: await bench.state() })
      })
      assert.equal(new Set(made.map(({ id }) => id)).size, made.length, 'something was committed to no new backup')
      for (const [index, { id, state }] of made.entries()) await assertRestores(bench, id, state, `followed${index}`)
    },
  ),
  adapterCase(
    'a full that somebody makes meanwhile takes the log over, and the old chain reaches up to it',
    'mixes up two chains while it follows',
    { kinds: ['log'], follow: true },
    async (bench) => {
      const { id: old } = await createBackup(bench.plan)
      const chain = old.split('/')[0] as string
      await whileFollowed(
        bench,
        async (following) => {
          const before = await log(bench, following)
          await bench.mutate()
          await bench.tick()
          const state = await bench.state()
          const { id: full } = await createBackup(bench.planWith({ lockWaitMs: 30_000 }))
          await bench.tick()
          const after = await log(bench, following)
          const again = await log(bench, following)
          const { backups } = await listBackups(bench.plan)
          const last = backups.findLast((backup) => backup.chain === chain)
          assert.ok(
            last && last.kind === 'log' && !after.id.startsWith(chain),
            'the log does not go on in the new chain',
          )
          await assertRestores(bench, before.id, before.state, 'before')
          await assertRestores(bench, last.id, state, 'old')
          await assertRestores(bench, full, state, 'full')
          await assertRestores(bench, after.id, after.state, 'after')
          await assertRestores(bench, again.id, again.state, 'again')
        },
        // So that what is committed before the full is not stored before it.
        { everyMs: 3_000 },
      )
    },
  ),
  adapterCase(
    'a source that is killed is begun anew, and nothing is lost in silence',
    'loses what is committed while its source is dead',
    { kinds: ['log'], follow: true, methods: ['killFollower'] },
    async (bench) => {
      await createBackup(bench.plan)
      const made: { id: string; state: unknown }[] = []
      await whileFollowed(bench, async (following) => {
        made.push(await log(bench, following))
        await bench.killFollower?.()
        await bench.mutate()
        made.push(await log(bench, following), await log(bench, following))
        const { restarts, state } = await following.health()
        assert.ok(restarts > 0, 'nobody noticed that it was killed')
        assert.equal(state, 'following')
      })
      for (const [index, { id, state }] of made.entries()) await assertRestores(bench, id, state, `killed${index}`)
    },
  ),
  adapterCase(
    'stop leaves nothing, and the next log goes on from there',
    'leaves something when it is stopped',
    { kinds: ['log'], follow: true },
    async (bench) => {
      await createBackup(bench.plan)
      const before = process.getActiveResourcesInfo()
      await whileFollowed(bench, async (following) => {
        await log(bench, following)
        await rejects(createBackup(bench.planWith({ lockWaitMs: 0 }), { kind: 'log' }), 'another log', 'PLAN_LOCKED')
        await bench.mutate()
      })
      assert.deepEqual(
        (await bench.keys()).filter((key) => key.includes('/lock-')),
        [],
        'a lock is left',
      )
      if (bench.leftovers) assert.deepEqual(await bench.leftovers(), [], 'something is left')
      await assertLoopIsFree(before)
      const newest = (await listBackups(bench.plan)).backups.at(-1)
      await assertRestores(bench, newest?.id ?? 'none', await bench.state(), 'stopped')
      await bench.mutate()
      const { id, kind } = await createBackup(bench.plan, { kind: 'log' })
      assert.equal(kind, 'log', 'the chain was not continued')
      await assertRestores(bench, id, await bench.state(), 'continued')
    },
  ),
  adapterCase(
    'what could not be stored for a while is stored afterwards',
    'loses what it gave when nobody could store it',
    { kinds: ['log'], follow: true },
    async (bench) => {
      await createBackup(bench.plan)
      const storage = faulty(bench.storage)
      const made: { id: string; state: unknown }[] = []
      const work = async (following: LogFollowing): Promise<void> => {
        made.push(await log(bench, following))
        for (const after of [false, true]) {
          storage.restart([
            {
              kind: 'error',
              after,
              when: ({ operation, key }) => operation === 'put' && key.endsWith('manifest.json'),
            },
          ])
          await bench.mutate()
          await rejects(following.flush(), 'the flush', 'DESTINATION_FAILED')
          await bench.mutate()
          await rejects(following.flush(), 'the second flush', 'DESTINATION_FAILED')
          assert.equal((await following.health()).lastError?.code, 'DESTINATION_FAILED')
          storage.restart()
          made.push(await log(bench, following))
        }
      }
      await whileFollowed(bench, work, { plan: bench.planWith({ destinations: [storage] }) })
      for (const [index, { id, state }] of made.entries()) await assertRestores(bench, id, state, `failed${index}`)
    },
  ),
]
