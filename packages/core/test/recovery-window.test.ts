import { describe, expect, test } from 'vitest'
import {
  type BackupFacts,
  type BackupKind,
  createBackup,
  mergeLogs,
  planRecovery,
  recoveryWindow,
} from '../src/index.ts'
import { scenario } from './support/scenario.ts'

type Scene = ReturnType<typeof scenario>

/** Makes backups of these kinds, each a minute after the one before and after a new entry. */
async function history({ plan, source, advance }: Scene, kinds: readonly BackupKind[]) {
  const made: { id: string; at: Date }[] = []
  for (const kind of kinds) {
    source.append(`${kind} ${made.length}`)
    const { id, manifest } = await createBackup(plan, { kind })
    made.push({ id, at: new Date(manifest.consistentAt) })
    advance(60_000)
  }
  return made
}

async function remove({ first, second }: Scene, id: string): Promise<void> {
  for (const storage of [first, second]) {
    const keys: string[] = []
    for await (const { key } of storage.list('')) if (key.includes(`${id}/`)) keys.push(key)
    for (const key of keys) await storage.delete(key)
  }
}

describe('recoveryWindow', () => {
  test('without a backup it is empty', async () => {
    expect(await recoveryWindow(scenario(1).plan)).toEqual({ chains: [], warnings: [] })
  })

  test('logs without a gap make every moment reachable, from the full to the last log', async () => {
    const scene = scenario(1)
    const made = await history(scene, ['full', 'log', 'differential', 'log', 'full'])
    const { first, last, chains } = await recoveryWindow(scene.plan)
    const [full, , , log, second] = made.map(({ at }) => at)
    expect([first, last]).toEqual([full, second])
    expect(chains).toMatchObject([
      { first: full, last: log, stretches: [{ from: full, to: log, everyMoment: true }], gaps: [] },
      { first: second, last: second, stretches: [{ from: second, to: second, everyMoment: false }], gaps: [] },
    ])
    expect(chains[0]?.stretches[0]?.backups).toEqual([made[0], made[1], made[3]].map((one) => one?.id))
  })

  test('a missing log is a gap until the next differential, and says which one does not follow', async () => {
    const scene = scenario(1)
    const made = await history(scene, ['full', 'log', 'log', 'differential', 'log'])
    const [full, one, two, differential, last] = made
    await remove(scene, two?.id as string)
    const { chains } = await recoveryWindow(scene.plan)
    expect(chains).toMatchObject([
      {
        stretches: [
          { from: full?.at, to: one?.at, everyMoment: true, backups: [full?.id, one?.id] },
          { from: differential?.at, to: last?.at, everyMoment: true, backups: [full?.id, differential?.id, last?.id] },
        ],
        gaps: [{ after: one?.at, until: differential?.at, reason: expect.stringContaining(last?.id as string) }],
      },
    ])
  })

  test('what it calls reachable, a recovery reaches; what it calls a gap, none does', async () => {
    const scene = scenario(1)
    const made = await history(scene, ['full', 'log', 'log', 'differential', 'log', 'log'])
    await remove(scene, made[2]?.id as string)
    const [chain] = (await recoveryWindow(scene.plan)).chains
    for (const { from, to } of chain?.stretches ?? []) {
      for (let ms = from.getTime(); ms <= to.getTime(); ms += 20_000) {
        expect((await planRecovery(scene.plan, { at: new Date(ms) })).reachedAt).toEqual(new Date(ms))
      }
    }
    for (const { after, until } of chain?.gaps ?? []) {
      const at = new Date((after.getTime() + until.getTime()) / 2)
      expect((await planRecovery(scene.plan, { at })).reachedAt).toEqual(after)
    }
  })

  describe('of an engine whose logs hold captured moments', () => {
    /** A plan whose logs say what `tell` gives for the nth of them. */
    function telling(scene: Scene, tell: (nth: number, at: Date) => Partial<BackupFacts>) {
      const { adapter } = scene.plan
      let logs = 0
      return scene.planWith({
        adapter: {
          ...adapter,
          pointInTime: 'captured',
          async *backup(request, ctx) {
            const facts = yield* adapter.backup(request, ctx)
            return request.kind === 'log' ? { ...facts, ...tell(++logs, facts.consistentAt) } : facts
          },
        },
      })
    }
    const before = (at: Date, ms: number): string => new Date(at.getTime() - ms).toISOString()

    test('not every moment is reachable, and the coarsest log says how far apart those are', async () => {
      const scene = scenario(1)
      const plan = telling(scene, (nth) => ({ resolutionMs: nth === 2 ? 5000 : 1000 }))
      const made = await history({ ...scene, plan }, ['full', 'log', 'log', 'differential', 'log'])
      const { chains } = await recoveryWindow(plan)
      expect(chains).toMatchObject([
        { stretches: [{ from: made[0]?.at, to: made[4]?.at, everyMoment: false, resolutionMs: 5000 }], gaps: [] },
      ])
    })

    test('a gap inside a log ends a stretch and begins the next one', async () => {
      const scene = scenario(1)
      const plan = telling(scene, (nth, at) => ({
        resolutionMs: nth * 1000,
        ...(nth === 2 && { gaps: [{ after: before(at, 30_000), until: before(at, 10_000), reason: 'It was off.' }] }),
      }))
      const [full, one, two, three] = await history({ ...scene, plan }, ['full', 'log', 'log', 'log'])
      const after = new Date(before(two?.at as Date, 30_000))
      const until = new Date(before(two?.at as Date, 10_000))
      const [chain] = (await recoveryWindow(plan)).chains
      expect(chain).toMatchObject({
        stretches: [
          { from: full?.at, to: after, resolutionMs: 2000, backups: [full?.id, one?.id, two?.id] },
          { from: until, to: three?.at, resolutionMs: 3000, backups: [full, one, two, three].map((it) => it?.id) },
        ],
        gaps: [{ after, until, reason: 'It was off.' }],
      })
    })

    test('a differential inside a gap is a stretch of its own, and one beside it none', async () => {
      const scene = scenario(1)
      const plan = telling(scene, (nth, at) =>
        nth === 1 ? { gaps: [{ after: before(at, 110_000), until: at.toISOString(), reason: 'It was off.' }] } : {},
      )
      const kinds = ['full', 'differential', 'log', 'differential', 'log'] as const
      const [full, inside, log, , last] = await history({ ...scene, plan }, kinds)
      const [chain] = (await recoveryWindow(plan)).chains
      expect(chain?.stretches).toMatchObject([
        { from: full?.at, to: new Date(before(log?.at as Date, 110_000)) },
        { from: inside?.at, to: inside?.at, backups: [full?.id, inside?.id] },
        { from: log?.at, to: last?.at },
      ])
      expect(chain?.gaps).toMatchObject([{ until: inside?.at }, { after: inside?.at, until: log?.at }])
    })

    test('merged logs beside what they were made of change nothing', async () => {
      const scene = scenario(1)
      const plan = telling(scene, () => ({ resolutionMs: 1000 }))
      await history({ ...scene, plan }, ['full', 'log', 'log', 'log'])
      const [before] = (await recoveryWindow(plan)).chains
      const fails = [
        {
          kind: 'error',
          when: ({ operation, key }: { operation: string; key: string }) =>
            operation === 'delete' && key.includes('-log/'),
        },
      ] as const
      scene.first.restart(fails)
      scene.second.restart(fails)
      expect(await mergeLogs(plan, { most: 3 })).toMatchObject({ merged: { length: 1 }, removed: [] })
      const [after] = (await recoveryWindow(plan)).chains
      expect([after?.first, after?.last, after?.gaps]).toEqual([before?.first, before?.last, []])
      expect(after?.stretches).toHaveLength(1)
    })
  })
})
