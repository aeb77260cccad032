import { describe, expect, test } from 'vitest'
import {
  BackupError,
  createBackup,
  holdBackup,
  keepLast,
  listBackups,
  pruneBackups,
  type RetentionPolicy,
  releaseBackup,
  restoreBackup,
  verifyBackup,
} from '../src/index.ts'
import { scenario } from './support/scenario.ts'
import { codeOf, keysOf } from './support/text.ts'

const HOUR_MS = 3_600_000

/** Three chains of a full, a differential and a log each, a day apart. */
async function threeChains(retention: RetentionPolicy = keepLast(1)) {
  const scene = scenario(3, { retention })
  const ids: string[] = []
  const states = new Map<string, unknown>()
  for (let chain = 0; chain < 3; chain++) {
    for (const kind of ['full', 'differential', 'log'] as const) {
      scene.source.append(`${chain} ${kind}`)
      const { id } = await createBackup(scene.plan, { kind })
      ids.push(id)
      states.set(id, scene.source.entries())
      scene.advance(HOUR_MS)
    }
    scene.advance(21 * HOUR_MS)
  }
  for (const storage of [scene.first, scene.second]) storage.restart()
  return { ...scene, ids, states }
}

const deletesOf = (scene: Awaited<ReturnType<typeof threeChains>>): string[] =>
  scene.first.calls
    .filter(({ operation, key }) => operation === 'delete' && !key.includes('/lock-'))
    .map(({ key }) => key)

describe('pruneBackups', () => {
  test('removes what the policy lets go, in every destination', async () => {
    const scene = await threeChains()
    const result = await pruneBackups(scene.plan)
    const kept = (await listBackups(scene.plan)).backups
    expect(kept.map(({ id }) => id)).toEqual(scene.ids.slice(6))
    expect(kept.every(({ destinations }) => destinations.length === 2)).toBe(true)
    for (const { decisions, removed, freedBytes } of result.destinations) {
      expect(removed).toEqual(scene.ids.slice(0, 6))
      expect(decisions.map(({ id }) => id)).toEqual(scene.ids)
      expect(decisions.every(({ reasons }) => reasons.length > 0)).toBe(true)
      expect(freedBytes).toBeGreaterThan(0)
    }
    expect((await keysOf(scene.first)).every((key) => key.startsWith(`books/${scene.ids[6]?.split('/')[0]}/`))).toBe(
      true,
    )
  })

  test('has the adapter forget a backup when the last destination loses it, before its manifest goes', async () => {
    const scene = await threeChains()
    const { adapter } = scene.source
    const forgotten: string[] = []
    const stillListed: number[] = []
    const forget: NonNullable<typeof adapter.forget> = async ({ id }) => {
      forgotten.push(id)
      const { backups } = await listBackups(scene.plan)
      stillListed.push(backups.find((backup) => backup.id === id)?.destinations.length ?? 0)
    }
    await pruneBackups(scene.planWith({ adapter: { ...adapter, forget }, retention: keepLast(1) }))
    expect([...forgotten].sort()).toEqual(scene.ids.slice(0, 6))
    expect(new Set(stillListed)).toEqual(new Set([1]))
  })

  test('a backup that the adapter cannot forget stays in one destination, and goes with the next prune', async () => {
    const scene = await threeChains()
    const { adapter } = scene.source
    const stubborn = scene.ids[2] as string
    const tried: string[] = []
    let reachable = false
    const forget: NonNullable<typeof adapter.forget> = async ({ id }) => {
      tried.push(id)
      if (id === stubborn && !reachable) throw new BackupError('SERVER_UNREACHABLE', 'The server does not answer.')
    }
    const plan = scene.planWith({ adapter: { ...adapter, forget }, retention: keepLast(1) })
    expect(await codeOf(pruneBackups(plan))).toBe('DESTINATION_FAILED')
    const left = (await listBackups(plan)).backups
    expect(left.find(({ id }) => id === stubborn)?.destinations).toHaveLength(1)
    reachable = true
    await pruneBackups(plan)
    expect((await listBackups(plan)).backups.map(({ id }) => id)).toEqual(scene.ids.slice(6))
    expect(tried.filter((id) => id === stubborn)).toHaveLength(2)
  })

  test('a dry run says the same and touches nothing, not even the lock', async () => {
    const scene = await threeChains()
    const before = await keysOf(scene.first)
    scene.first.restart()
    const told = await pruneBackups(scene.plan, { dryRun: true })
    expect(new Set(scene.first.calls.map(({ operation }) => operation))).toEqual(new Set(['list']))
    expect(await keysOf(scene.first)).toEqual(before)
    const done = await pruneBackups(scene.plan)
    expect(told.destinations.map(({ removed }) => removed)).toEqual(done.destinations.map(({ removed }) => removed))
    expect([told.dryRun, done.dryRun]).toEqual([true, false])
  })

  test('deletes manifests first, dependants before what they depend on', async () => {
    const scene = await threeChains()
    await pruneBackups(scene.plan)
    const deletes = deletesOf(scene)
    for (const chain of [scene.ids.slice(0, 3), scene.ids.slice(3, 6)]) {
      const own = deletes.filter((key) => key.startsWith(`books/${chain[0]?.split('/')[0]}/`))
      expect(own.slice(0, 3)).toEqual(chain.reverse().map((id) => `books/${id}/manifest.json`))
      expect(own.slice(3).some((key) => key.endsWith('manifest.json'))).toBe(false)
    }
    expect(deletes).toHaveLength(12)
  })

  test('stopped at any delete leaves a catalog that is whole, and the next one finishes', async () => {
    const total = (
      await threeChains().then(async (scene) => {
        await pruneBackups(scene.plan)
        return deletesOf(scene)
      })
    ).length
    for (let stopAt = 1; stopAt <= total; stopAt++) {
      const scene = await threeChains()
      let seen = 0
      // From this delete on nothing goes any more, but the lock: as if the process had been killed.
      scene.first.restart([
        {
          kind: 'error',
          when: ({ operation, key }) => operation === 'delete' && !key.includes('/lock-') && ++seen >= stopAt,
        },
      ])
      expect(await codeOf(pruneBackups(scene.plan))).toBe('DESTINATION_FAILED')
      scene.first.restart()
      const alone = scene.planWith({ destinations: [scene.first], retention: keepLast(1) })
      const { backups } = await listBackups(alone)
      expect(backups.length).toBeGreaterThanOrEqual(3)
      for (const { id } of backups) {
        await restoreBackup(alone, { id, to: `${stopAt}-${id}` })
        expect(scene.source.entries(`${stopAt}-${id}`)).toEqual(scene.states.get(id))
      }
      await pruneBackups(alone)
      expect(await keysOf(scene.first)).toHaveLength(6)
    }
  })

  test('keeps a chain on hold until it is released', async () => {
    const scene = await threeChains()
    const id = scene.ids[1] as string
    await holdBackup(scene.plan, { id, reason: 'lawsuit' })
    expect((await listBackups(scene.plan)).backups.map(({ held }) => held)).toEqual([
      ...Array(3).fill(true),
      ...Array(6).fill(false),
    ])
    await pruneBackups(scene.plan)
    expect((await listBackups(scene.plan)).backups.map((entry) => entry.id)).toEqual([
      ...scene.ids.slice(0, 3),
      ...scene.ids.slice(6),
    ])
    await releaseBackup(scene.plan, { id })
    await pruneBackups(scene.plan)
    expect((await listBackups(scene.plan)).backups.map((entry) => entry.id)).toEqual(scene.ids.slice(6))
    expect(await codeOf(holdBackup(scene.plan, { id, reason: 'late' }))).toBe('BACKUP_NOT_FOUND')
    expect(await codeOf(holdBackup(scene.plan, { id: scene.ids[6] as string, reason: ' ' }))).toBe('OPTIONS_INVALID')
  })

  test('a hold waits for a prune that runs, and is refused after', async () => {
    const scene = await threeChains()
    const id = scene.ids[0] as string
    let holding: Promise<string | undefined> | undefined
    const { adapter } = scene.source
    const removeLeftovers: typeof adapter.removeLeftovers = async () => {
      holding = codeOf(holdBackup(scene.planWith({ lockWaitMs: 120_000, retention: keepLast(1) }), { id, reason: 'x' }))
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(await codeOf(holdBackup(scene.plan, { id, reason: 'x' }))).toBe('PLAN_LOCKED')
      return []
    }
    await pruneBackups(scene.planWith({ adapter: { ...adapter, removeLeftovers }, retention: keepLast(1) }))
    expect(await holding).toBe('BACKUP_NOT_FOUND')
  })

  test('a hold is refused when a destination cannot be read', async () => {
    const scene = await threeChains()
    scene.second.restart([{ kind: 'error', when: () => true }])
    expect(await codeOf(holdBackup(scene.plan, { id: scene.ids[0] as string, reason: 'x' }))).toBe('DESTINATION_FAILED')
  })

  test('removes what killed processes left, and nothing foreign', async () => {
    const scene = await threeChains(keepLast(9))
    const [chain] = (scene.ids[6] as string).split('/')
    const dead = [
      `books/${chain}/20261130T000000000Z-log/a.db.zst`,
      `books/${chain}/20261130T000000000Z-log/b.db.00.partial`,
    ]
    const foreign = ['books/notes.txt', 'books/a/b/c', 'other/20261130T000000000Z-abcd/20261130T000000000Z-full/x']
    for (const key of [...dead, ...foreign]) await scene.first.put(key, Buffer.from('x'))
    const told = await pruneBackups(scene.plan)
    expect([...(told.destinations[0]?.leftovers ?? [])].sort()).toEqual(dead)
    const keys = await keysOf(scene.first)
    expect(keys.filter((key) => dead.includes(key))).toEqual([])
    expect(keys).toEqual(expect.arrayContaining(foreign))
    expect((await listBackups(scene.plan)).backups).toHaveLength(9)
  })

  test('a policy that keeps nothing, or answers nonsense, removes nothing', async () => {
    const policies: [RetentionPolicy, readonly string[]][] = [
      [(backups) => backups.map(({ id }) => ({ id, keep: false, reasons: ['no'] })), ['POLICY_KEEPS_NOTHING']],
      [() => [], ['CONTRACT_BROKEN', 'POLICY_KEEPS_NOTHING']],
      [() => 5 as never, ['CONTRACT_BROKEN']],
      [
        () => {
          throw new TypeError('bad')
        },
        ['CONTRACT_BROKEN', 'INTERNAL'],
      ],
    ]
    for (const [retention, codes] of policies) {
      const scene = await threeChains(retention)
      expect(codes).toContain(await codeOf(pruneBackups(scene.plan)))
      expect(deletesOf(scene)).toEqual([])
    }
  })

  test('prunes the others when one destination fails, and says so', async () => {
    const scene = await threeChains()
    scene.first.restart([
      { kind: 'error', code: 'STORAGE_DENIED', when: ({ operation, key }) => operation === 'list' && key === 'books/' },
    ])
    await expect(pruneBackups(scene.plan)).rejects.toMatchObject({
      code: 'DESTINATION_FAILED',
      details: [{ destination: 'first', code: 'STORAGE_DENIED' }],
    })
    expect(await keysOf(scene.second)).toHaveLength(6)
  })

  test('keeps the last full that passed its verification, though the policy would not', async () => {
    const scene = await threeChains()
    await verifyBackup(scene.plan, { id: scene.ids[0] as string, level: 'stored' })
    await pruneBackups(scene.plan)
    expect((await listBackups(scene.plan)).backups.map(({ id }) => id)).toContain(scene.ids[0])
  })

  test('waits for nobody for ever, and removes nothing without the lock', async () => {
    const scene = await threeChains()
    let code: string | undefined
    const { adapter } = scene.source
    const busy = scene.planWith({
      adapter: {
        ...adapter,
        async *backup(request, ctx) {
          code = await codeOf(pruneBackups(scene.plan))
          return yield* adapter.backup(request, ctx)
        },
      },
    })
    await createBackup(busy)
    expect(code).toBe('PLAN_LOCKED')
    expect((await listBackups(scene.plan)).backups).toHaveLength(10)
  })
})
