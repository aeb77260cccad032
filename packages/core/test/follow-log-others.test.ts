import { describe, expect, test } from 'vitest'
import { collect } from '../../testing/src/index.ts'
import { BackupError, createBackup, listBackups, recoveryWindow, restoreBackup } from '../src/index.ts'
import { assertRestores, following, manifestOf, newest, RARELY, warningsIn, withSource } from './support/following.ts'
import { scenario } from './support/scenario.ts'
import { codeOf } from './support/text.ts'

describe('a full of somebody else', () => {
  test.each([
    ['is seen at once', 3_600_000, 0],
    ['is seen at once, though its clock is wrong', 3_600_000, 3_000_000],
  ])('%s, and the logs go on from there', async (_name, relistMs, behindMs) => {
    const all = scenario(3)
    await createBackup(all.plan)
    all.advance(7_200_000)
    await following(
      all,
      async (followed) => {
        all.source.append('old chain, committed')
        await followed.flush()
        all.source.append('old chain, pending')
        all.advance(-behindMs)
        const { id } = await createBackup(all.plan)
        all.advance(behindMs)
        all.source.append('new chain')
        await followed.flush()
        const { backups } = await listBackups(all.plan)
        const positions = []
        for (const { id, chain, kind } of backups)
          if (kind === 'log') positions.push({ chain, ...(await manifestOf(all, id)).position })
        const [old, now] = [backups.find(({ kind }) => kind === 'full')?.chain, id.split('/')[0]]
        expect(positions).toEqual([
          { chain: old, begin: '1.3', end: '1.4' },
          { chain: old, begin: '1.4', end: '1.5' },
          { chain: now, begin: '1.5', end: '1.6' },
        ])
        await restoreBackup(all.plan, { id: backups.findLast(({ chain }) => chain === old)?.id as string, to: 'old' })
        expect(all.source.entries('old')?.at(-1)?.text).toBe('old chain, pending')
      },
      { ...RARELY, parts: { relistMs } },
    )
    await assertRestores(all, 'copy')
  })

  test('whose old chain is pruned at once, too', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        const old = (await newest(all))?.chain as string
        all.source.append('pending')
        await createBackup(all.plan)
        for (const storage of [all.first, all.second])
          for (const { key } of await collect(storage.list(`books/${old}/`))) await storage.delete(key)
        all.source.append('new')
        await followed.flush()
        expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log'])
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('is continued by the source although nothing was committed since', async () => {
    const all = scenario(3)
    let asked = 0
    const adapter = withSource(all.source.adapter, (source) => ({
      async continueFrom(base) {
        asked += 1
        await source.continueFrom(base)
      },
    }))
    const plan = all.planWith({ adapter })
    await following(
      { plan },
      async (followed) => {
        await createBackup(plan)
        all.source.append('one')
        await followed.flush()
        expect([asked, (await followed.health()).restarts]).toEqual([1, 0])
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('that the source cannot continue is continued by another one', async () => {
    const all = scenario(3)
    const adapter = withSource(all.source.adapter, () => ({
      continueFrom: () => Promise.reject(new BackupError('BASE_UNUSABLE', 'It was not captured.')),
    }))
    const plan = all.planWith({ adapter })
    await following(
      { plan },
      async (followed) => {
        all.source.append('old')
        const { id } = await createBackup(plan)
        all.source.append('new')
        await followed.flush()
        expect((await newest(all))?.chain).toBe(id.split('/')[0])
        expect((await followed.health()).restarts).toBe(1)
      },
      RARELY,
    )
    expect((await listBackups(plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'full', 'log', 'log'])
    await assertRestores(all, 'copy')
  })

  test('that is being made when the following begins is the only one', async () => {
    const all = scenario(3)
    const plan = all.planWith({ lockWaitMs: 120_000 })
    all.second.restart([{ kind: 'hang', when: ({ operation, key }) => operation === 'put' && key.includes('-full/') }])
    const full = createBackup(plan)
    await expect.poll(() => all.second.struck.length).toBe(1)
    const lists = (): number => all.first.calls.filter(({ operation }) => operation === 'list').length
    const before = lists()
    const follow = following({ plan }, (followed) => followed.flush(), RARELY)
    // Its own lock, the catalogue, the lock for a full.
    await expect.poll(() => lists() - before).toBeGreaterThan(2)
    all.second.restart()
    all.second.release()
    await Promise.all([full, follow])
    expect((await listBackups(plan)).backups.map(({ kind }) => kind)).toEqual(['full'])
  })

  test('while it is being made, lets the log wait', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed, events) => {
        all.second.restart([
          { kind: 'hang', when: ({ operation, key }) => operation === 'put' && key.includes('-full/') },
        ])
        const full = createBackup(all.plan)
        await expect.poll(() => all.second.struck.length).toBe(1)
        all.source.append('meanwhile')
        expect(await codeOf(followed.flush())).toBe('PLAN_LOCKED')
        expect((await followed.health()).lastError?.code).toBe('PLAN_LOCKED')
        all.second.restart()
        all.second.release()
        const { id } = await full
        await followed.flush()
        expect((await newest(all))?.chain).toBe(id.split('/')[0])
        expect(warningsIn(events)).toEqual([])
        expect((await followed.health()).lastError).toBeUndefined()
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })
})

describe('a restore over the live database', () => {
  test('begins a new chain', async () => {
    const all = scenario(3)
    const { id } = await createBackup(all.plan)
    all.source.append('undone')
    await following(
      all,
      async (followed) => {
        await followed.flush()
        await restoreBackup(all.plan, { id })
        all.source.append('another history')
        await followed.flush()
        all.source.append('and on')
        await followed.flush()
      },
      RARELY,
    )
    expect((await listBackups(all.plan)).backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'full', 'log'])
    await assertRestores(all, 'copy')
  })
})

describe('a chain that somebody else changed', () => {
  test('by removing all of it: a full is made at once', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.source.append('removed')
        await followed.flush()
        for (const storage of [all.first, all.second])
          for (const { key } of await collect(storage.list('books/2'))) await storage.delete(key)
        all.source.append('one')
        await followed.flush()
        expect((await newest(all))?.kind).toBe('full')
      },
      RARELY,
    )
    await assertRestores(all, 'copy')
  })

  test('by removing its full only: it is found within the time', async () => {
    const all = scenario(3)
    let aheadMs = 0
    await following(
      all,
      async (followed) => {
        const full = (await newest(all)) as { id: string }
        const log = async (): Promise<string | undefined> => {
          all.source.append('one')
          await followed.flush()
          return (await newest(all))?.kind
        }
        expect(await log()).toBe('log')
        for (const storage of [all.first, all.second])
          for (const { key } of await collect(storage.list(`books/${full.id}/`))) await storage.delete(key)
        expect(await log()).toBe('log')
        aheadMs += 60_000
        expect(await log()).toBe('full')
      },
      { ...RARELY, parts: { relistMs: 60_000, nowMs: () => aheadMs } },
    )
    await assertRestores(all, 'copy')
  })

  test('by removing its newest log: the source is begun anew where they end now, at once', async () => {
    const all = scenario(3)
    await following(
      all,
      async (followed) => {
        all.source.append('one')
        await followed.flush()
        const { id } = (await newest(all)) as { id: string }
        for (const storage of [all.first, all.second])
          for (const { key } of await collect(storage.list(`books/${id}/`))) await storage.delete(key)
        all.source.append('two')
        await followed.flush()
        all.source.append('three')
        await followed.flush()
      },
      RARELY,
    )
    const { chains } = await recoveryWindow(all.plan)
    expect(chains.map(({ gaps }) => gaps)).toEqual([[]])
    await assertRestores(all, 'copy')
  })
})
