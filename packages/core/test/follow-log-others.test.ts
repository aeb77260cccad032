import { describe, expect, test } from 'vitest'
import { collect } from '../../testing/src/index.ts'
import { createBackup, listBackups, recoveryWindow, restoreBackup } from '../src/index.ts'
import { assertRestores, following, manifestOf, newest, RARELY, warningsIn } from './support/following.ts'
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
