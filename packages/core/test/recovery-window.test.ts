import { describe, expect, test } from 'vitest'
import { type BackupKind, createBackup, planRecovery, recoveryWindow } from '../src/index.ts'
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
})
