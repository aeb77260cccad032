import { describe, expect, test } from 'vitest'
import { collect } from '../../testing/src/index.ts'
import {
  type BackupAdapter,
  BackupError,
  type BackupPlan,
  createBackup,
  type LogFollowing,
  type LogSource,
  listBackups,
  readOnly,
} from '../src/index.ts'
import { assertRestores, following, manifestOf, newest, RARELY, warningsIn, withSource } from './support/following.ts'
import { type Scenario, scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

/** Commits something and stores it; the destinations that hold it then. */
const logger =
  ({ source }: Scenario, plan: BackupPlan, followed: LogFollowing) =>
  async () => {
    source.append('one more')
    await followed.flush()
    return (await newest({ plan }))?.destinations
  }

/** The same adapter, and from which destination each log could read what it continues. */
function watchingBase({ source: { adapter } }: Scenario) {
  const readFrom: (string | undefined)[] = []
  const watching = withSource(adapter, (source) => ({
    backup(request, ctx, until) {
      readFrom.push(request.base?.previous.destination)
      return source.backup(request, ctx, until)
    },
  }))
  return { adapter: watching, readFrom }
}

describe('a destination', () => {
  test('that is required and fails: nothing is lost, and it is told once', async () => {
    const all = scenario(3)
    const events = await following(all, async (followed) => {
      all.first.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'put' && key.includes('.zst') }])
      all.source.append('one')
      await expect.poll(() => all.first.struck.length).toBeGreaterThan(3)
      all.source.append('two')
      const { lastError, state, pendingBytes, lagMs } = await followed.health()
      expect({ state, code: lastError?.code }).toEqual({ state: 'following', code: 'DESTINATION_FAILED' })
      expect(pendingBytes).toBeGreaterThan(0)
      expect(lagMs).toBeGreaterThan(0)
      all.first.restart()
      await followed.flush()
      expect((await followed.health()).lastError).toBeUndefined()
    })
    expect(warningsIn(events)).toEqual([
      expect.stringMatching(/^What is captured could not be stored: Destination first/),
    ])
    await assertRestores(all, 'copy')
  })

  test('that cannot be listed for a while is no reason for a full', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'list' }])
        all.source.append('one')
        expect(await codeOf(followed.flush())).toBe('DESTINATION_FAILED')
        all.second.restart()
        await followed.flush()
      },
      { ...RARELY, parts: { relistMs: 0 } },
    )
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log'])
  })

  test.each([0, 3_600_000])(
    'that is optional and fails is left out until the next full, and told once',
    async (relistMs) => {
      const all = scenario(3)
      const plan = all.planWith({
        destinations: [
          { name: 'first', storage: all.first },
          { name: 'second', storage: all.second, required: false },
        ],
      })
      const events = await following(
        { plan },
        async (followed) => {
          const log = logger(all, plan, followed)
          expect(await log()).toEqual(['first', 'second'])
          all.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'put' }])
          expect(await log()).toEqual(['first'])
          all.second.restart()
          expect(await log()).toEqual(['first'])
          expect(await log()).toEqual(['first'])
          await createBackup(plan)
          expect(await log()).toEqual(['first', 'second'])
        },
        { ...RARELY, parts: { relistMs } },
      )
      expect(warningsIn(events)).toEqual([expect.stringMatching(/^Destination second is left out of this backup/)])
    },
  )

  test('that is optional and cannot be listed, or lost the chain, does not stop the others', async () => {
    const all = scenario(3)
    const plan = all.planWith({
      destinations: [
        { name: 'second', storage: all.second, required: false },
        { name: 'first', storage: all.first },
      ],
    })
    const { adapter, readFrom } = watchingBase(all)
    await following(
      { plan: { ...plan, adapter } },
      async (followed) => {
        const log = logger(all, plan, followed)
        expect(await log()).toEqual(['second', 'first'])
        all.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'list' }])
        all.source.append('unlisted')
        await followed.flush()
        all.second.restart()
        for (const { key } of await collect(all.second.list('books/'))) await all.second.delete(key)
        expect(await log()).toEqual(['first'])
        expect(await log()).toEqual(['first'])
        expect(readFrom.at(-1)).toBe('first')
      },
      { ...RARELY, parts: { relistMs: 0 } },
    )
    expect((await listBackups(plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'log', 'log', 'log'])
  })

  test('that can only be read is written to by nobody, and not warned of', async () => {
    const all = scenario(3)
    await createBackup(all.plan)
    const plan = all.planWith({
      destinations: [
        { name: 'second', storage: readOnly(all.second), required: false },
        { name: 'first', storage: all.first },
      ],
    })
    const { adapter, readFrom } = watchingBase(all)
    const events = await following(
      { plan: { ...plan, adapter } },
      async (followed) => {
        for (let log = 0; log < 3; log++) {
          all.source.append('one more')
          await followed.flush()
        }
      },
      RARELY,
    )
    expect(warningsIn(events)).toEqual([])
    expect(readFrom.slice(1)).toEqual(['first', 'first'])
  })
})

describe('a source', () => {
  test('that ends is begun anew, with pauses, until it can be', async () => {
    const all = scenario(3)
    let refusals = 3
    const adapter: BackupAdapter = {
      ...all.source.adapter,
      async follow(base, settings, ctx) {
        if (all.source.followers() === 0 && begun && refusals-- > 0) throw new BackupError('SOURCE_BUSY', 'Not now.')
        begun = true
        return (await all.source.adapter.follow?.(base, settings, ctx)) as LogSource
      },
    }
    let begun = false
    const events = await following({ plan: all.planWith({ adapter }) }, async (followed) => {
      all.source.killFollowers()
      all.source.append('while it is dead')
      await expect.poll(() => refusals).toBeLessThan(0)
      await followed.flush()
      expect(await followed.health()).toMatchObject({ state: 'following', restarts: 1 })
    })
    expect(warningsIn(events)).toEqual([
      'The log is not captured and is begun anew: Killed on purpose.',
      'The log is not captured and is begun anew: Not now.',
    ])
    await assertRestores(all, 'copy')
  })

  test('that never says so is told by its calls', async () => {
    const all = scenario(3)
    let broken = false
    const adapter = withSource(all.source.adapter, (source) => ({
      async *backup(request, ctx, until) {
        if (broken) {
          broken = false
          throw new BackupError('SOURCE_UNREADABLE', 'A broken disk.')
        }
        return yield* source.backup(request, ctx, until)
      },
    }))
    await following(
      { plan: all.planWith({ adapter }) },
      async (followed) => {
        broken = true
        all.source.append('one')
        await followed.flush()
        expect((await followed.health()).restarts).toBe(1)
      },
      RARELY,
    )
    expect(all.source.followers()).toBe(0)
    await assertRestores(all, 'copy')
  })

  test('that finds that it cannot go on makes a full', async () => {
    const all = scenario(3)
    let refuse = false
    const adapter = withSource(all.source.adapter, (source) => ({
      async pending(waitMs) {
        if (refuse) throw new BackupError('BASE_UNUSABLE', 'Another page size.')
        return source.pending(waitMs)
      },
      async close() {
        refuse = false
        await source.close()
      },
    }))
    await following(
      { plan: all.planWith({ adapter }) },
      async (followed) => {
        all.source.append('one')
        await followed.flush()
        refuse = true
        all.source.append('two')
        await followed.flush()
        all.source.append('three')
        await followed.flush()
      },
      RARELY,
    )
    const { backups } = await listBackups(all.plan)
    expect(backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'full', 'log'])
    expect((await manifestOf(all, backups[2]?.id as string)).requested?.reason).toBe('Another page size.')
    await assertRestores(all, 'copy')
  })

  test('that answers at once that there is nothing does not keep the app from its work', async () => {
    const all = scenario(3)
    let asked = 0
    const adapter = withSource(all.source.adapter, () => ({
      pending: async () => {
        asked += 1
        return false
      },
    }))
    await following({ plan: all.planWith({ adapter }) }, () => expect.poll(() => asked).toBeGreaterThan(3))
  })
})
