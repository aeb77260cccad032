import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createBackup, followLog, pruneBackups } from '../src/index.ts'
import { acquireLock } from '../src/lock.ts'
import { assertRestores, following, locksIn, manifestOf, newest, RARELY, withSource } from './support/following.ts'
import { type Scenario, scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

describe('the lock', () => {
  test('lets everybody do what they do, but write the log', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        await expect(createBackup(all.plan, { kind: 'log' })).rejects.toThrow(
          new RegExp(`^The log of plan "books" is being followed by process ${process.pid} on `),
        )
        expect(await codeOf(followLog(all.plan))).toBe('PLAN_LOCKED')
        await createBackup(all.plan, { kind: 'differential' })
        await pruneBackups(all.plan)
        all.source.append('later')
        await followed.flush()
      },
      RARELY,
    )
    await createBackup(all.plan, { kind: 'log' })
    expect(await locksIn(all.first)).toEqual([])
  })

  const LOCK = { staleAfterMs: 30_000, beatMs: 5, pollMs: 5, nowMs: () => performance.now() }
  const PATIENT = { timeout: 10_000 }
  const looksFor = ({ first }: Scenario, lock: string | undefined): number =>
    first.calls.filter(({ operation, key }) => operation === 'stat' && key === lock).length

  test('that was lost is taken again, without losing the source', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        const [lost] = await locksIn(all.first)
        await all.first.delete(lost as string)
        const again = async (): Promise<string[]> => {
          all.source.append('later')
          await followed.flush()
          return locksIn(all.first)
        }
        await expect.poll(again, PATIENT).toEqual([expect.not.stringMatching(lost as string)])
        expect((await followed.health()).restarts).toBe(0)
      },
      { ...RARELY, parts: { lock: LOCK } },
    )
    expect(await locksIn(all.first)).toEqual([])
    await assertRestores(all, 'copy')
  })

  test.each(['log', 'full'] as const)(
    'that was lost while somebody made a %s, and a log: it goes on after them',
    async (kind) => {
      const all = scenario(3)
      let blocked = 0
      let gate: Promise<void> | undefined
      const adapter = withSource(all.source.adapter, (source) => ({
        async pending(waitMs) {
          if (gate !== undefined) blocked += 1
          await gate
          return source.pending(waitMs)
        },
      }))
      await following(
        { plan: all.planWith({ adapter }) },
        async (followed) => {
          all.source.append('one')
          await followed.flush()
          let open = (): void => {}
          gate = new Promise((resolve) => {
            open = resolve
          })
          await expect.poll(() => blocked).toBe(1)
          const [lost] = await locksIn(all.first)
          all.first.restart()
          await all.first.delete(lost as string)
          all.source.append('two')
          await createBackup(all.plan, { kind })
          all.source.append('three')
          const { manifest } = await createBackup(all.plan, { kind: 'log' })
          await expect.poll(() => looksFor(all, lost)).toBeGreaterThan(1)
          all.source.append('four')
          const flush = codeOf(followed.flush())
          gate = undefined
          open()
          await flush
          await followed.flush()
          const { position } = await manifestOf(all, (await newest(all))?.id as string)
          expect(position.begin).toBe(manifest.position.end)
          expect((await followed.health()).restarts).toBe(1)
        },
        { ...RARELY, parts: { lock: LOCK } },
      )
      await assertRestores(all, 'copy')
    },
  )

  test('that was lost while a log is stored: it is not committed, and no timer stays', async () => {
    const all = scenario(3)
    onTestFinished(() => void vi.restoreAllMocks())
    const begun = vi.spyOn(globalThis, 'setInterval')
    const cleared = vi.spyOn(globalThis, 'clearInterval')
    await following(
      all,
      async (followed) => {
        const [lost] = await locksIn(all.first)
        all.second.restart([{ kind: 'hang', when: ({ operation, key }) => operation === 'put' && /zst/.test(key) }])
        all.source.append('one')
        const flush = codeOf(followed.flush())
        await expect.poll(() => all.second.struck.length).toBe(1)
        all.first.restart()
        await all.first.delete(lost as string)
        await expect.poll(() => looksFor(all, lost)).toBeGreaterThan(1)
        all.second.restart()
        all.second.release()
        expect(await flush).toBe('LOCK_LOST')
        expect((await newest(all))?.kind).toBe('full')
        await followed.flush()
      },
      { ...RARELY, parts: { lock: LOCK } },
    )
    const ended = cleared.mock.calls.map(([timer]) => timer)
    expect(begun.mock.results.length).toBeGreaterThan(3)
    for (const { value } of begun.mock.results) expect(ended).toContain(value)
    await assertRestores(all, 'copy')
  })

  test('that was lost to somebody else ends it', async () => {
    const all = scenario(3)
    const { plan, first } = all
    await following(
      all,
      async (followed) => {
        for (const key of await locksIn(first)) await first.delete(key)
        const { signal } = new AbortController()
        const request = { mode: 'follow', verb: 'followLog', waitMs: 0, signal } as const
        const other = await acquireLock(first, 'books', request, plan.runtime)
        await expect.poll(() => codeOf(followed.flush()), PATIENT).toBe('PLAN_LOCKED')
        expect(await codeOf(followed.done)).toBe('PLAN_LOCKED')
        expect(await locksIn(first)).toEqual([other.key])
        await other.release()
      },
      { ...RARELY, parts: { lock: LOCK } },
    )
    expect(all.source.followers()).toBe(0)
  })
})
