import { describe, expect, test } from 'vitest'
import { createBackup, followLog, listBackups, readOnly, restoreBackup } from '../src/index.ts'
import { assertRestores, following, locksIn, manifestOf, newest, RARELY } from './support/following.ts'
import { type Scenario, scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

describe('the begin', () => {
  test('makes a full where there is none, and says why', async () => {
    const all = scenario(3)
    const events = await following(all, async (followed) => {
      all.source.append('four')
      await followed.flush()
    })
    const { backups } = await listBackups(all.plan)
    expect(backups.map(({ kind }) => kind)).toEqual(['full', 'log'])
    expect((await manifestOf(all, backups[0]?.id as string)).requested).toMatchObject({ kind: 'log' })
    expect(events.flatMap(({ type, verb }) => (type === 'progress' ? [] : [`${verb} ${type}`]))).toEqual([
      'createBackup started',
      'createBackup completed',
      'followLog started',
      'followLog logged',
      'followLog completed',
    ])
    await assertRestores(all, 'copy')
  })

  test('continues the newest chain, with all that was committed since', async () => {
    const all = scenario(3)
    await createBackup(all.plan)
    await createBackup(all.plan, { kind: 'log' })
    all.source.append('while nobody followed')
    await following(all, (followed) => followed.flush(), RARELY)
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'log'])
    await assertRestores(all, 'copy')
  })

  test('makes a full where the chain cannot be continued, and none with strictKinds', async () => {
    const all = scenario(3)
    await createBackup(all.plan)
    all.source.truncateLog()
    expect(await codeOf(followLog(all.planWith({ strictKinds: true })))).toBe('BASE_UNUSABLE')
    expect(await locksIn(all.first)).toEqual([])
    await following(all, (followed) => followed.flush(), RARELY)
    const { backups } = await listBackups(all.plan)
    expect(backups.map(({ kind }) => kind)).toEqual(['full', 'full'])
    expect((await manifestOf(all, backups[1]?.id as string)).requested?.reason).toMatch(/log since/)
  })

  test.each<[string, (all: Scenario) => Promise<unknown>, string]>([
    ['everyMs is no time', ({ plan }) => followLog(plan, { everyMs: 0 }), 'OPTIONS_INVALID'],
    ['most is too few', ({ plan }) => followLog(plan, { merge: { most: 1 } }), 'OPTIONS_INVALID'],
    [
      'everyMoment is no duration',
      ({ plan }) => followLog(plan, { merge: { everyMoment: 'x' as '7d' } }),
      'OPTIONS_INVALID',
    ],
    ['resolutionMs is none', ({ plan }) => followLog(plan, { merge: { resolutionMs: 0 } }), 'OPTIONS_INVALID'],
    ['idleEveryMs is shorter', ({ plan }) => followLog(plan, { idleEveryMs: 999 }), 'OPTIONS_INVALID'],
    [
      'the adapter follows no log',
      ({ planWith, source: { adapter } }) => {
        const { follow: _, ...rest } = adapter
        return followLog(planWith({ adapter: rest }))
      },
      'KIND_UNSUPPORTED',
    ],
    [
      'a required destination can only be read',
      ({ planWith, first }) => followLog(planWith({ destinations: [readOnly(first)] })),
      'STORAGE_READ_ONLY',
    ],
    ['there is no full, and strictKinds', ({ planWith }) => followLog(planWith({ strictKinds: true })), 'BASE_MISSING'],
    [
      'the destination fails',
      ({ plan, first }) => {
        first.restart([{ kind: 'error', when: ({ operation }) => operation === 'list' }])
        return followLog(plan)
      },
      'STORAGE_FAILED',
    ],
    ['it is aborted already', ({ plan }) => followLog(plan, { signal: AbortSignal.abort() }), 'ABORTED'],
  ])('is refused when %s, and leaves nothing', async (_name, begin, code) => {
    const all = scenario(3)
    expect(await codeOf(begin(all))).toBe(code)
    all.first.restart()
    expect(await locksIn(all.first)).toEqual([])
    expect(all.source.followers()).toBe(0)
  })
})

describe('the end', () => {
  test('stop stores what is there, and may be called twice', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.source.append('last')
        await Promise.all([followed.stop(), followed.stop()])
        await followed.done
        expect(all.source.followers()).toBe(0)
        expect(await locksIn(all.first)).toEqual([])
        expect(await followed.health()).toMatchObject({ state: 'stopped', backupId: (await newest(all))?.id })
        expect(await codeOf(followed.flush())).toBe('ABORTED')
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('stop that cannot store ends all the same, and says so', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.second.restart([{ kind: 'error', when: ({ operation }) => operation === 'put' }])
        all.source.append('last')
        expect(await codeOf(followed.stop())).toBe('DESTINATION_FAILED')
        await followed.done
      },
      RARELY,
    )
    all.second.restart()
    expect(all.source.followers()).toBe(0)
    expect(await locksIn(all.first)).toEqual([])
    await createBackup(all.plan, { kind: 'log' })
    await assertRestores(all, 'copy')
  })

  test('an abort ends it at once, also in the middle of a commit', async () => {
    const all = scenario(3)
    const aborter = new AbortController()
    const events = await following(
      all,
      async (followed) => {
        all.second.restart([
          { kind: 'hang', when: ({ operation, key }) => operation === 'put' && key.includes('.zst') },
        ])
        all.source.append('last')
        const flush = codeOf(followed.flush())
        await expect.poll(() => all.second.struck.length).toBe(1)
        aborter.abort()
        expect(await flush).toBe('ABORTED')
        expect(await codeOf(followed.done)).toBe('ABORTED')
        await followed.stop()
      },
      { ...RARELY, signal: aborter.signal },
    )
    all.second.restart()
    expect(events.at(-1)).toMatchObject({ type: 'failed', verb: 'followLog', code: 'ABORTED' })
    expect(await locksIn(all.first)).toEqual([])
    expect(all.source.followers()).toBe(0)
    expect((await newest(all))?.kind).toBe('full')
  })

  test('it ends with an error when no later attempt could succeed', async () => {
    const all = scenario(3)
    const plan = all.planWith({ strictKinds: true })
    const { id } = await createBackup(plan)
    await following(
      { plan },
      async (followed) => {
        await restoreBackup(plan, { id })
        all.source.append('another history')
        expect(await codeOf(followed.flush())).toBe('BASE_UNUSABLE')
        expect(await codeOf(followed.done)).toBe('BASE_UNUSABLE')
        expect(await followed.health()).toMatchObject({ state: 'stopped' })
      },
      RARELY,
    )
    expect(await locksIn(all.first)).toEqual([])
    expect(all.source.followers()).toBe(0)
  })
})
