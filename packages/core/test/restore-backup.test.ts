import { describe, expect, test } from 'vitest'
import {
  type BackupAdapter,
  BackupError,
  type BackupEvent,
  createBackup,
  planRecovery,
  readOnly,
  restoreBackup,
  undoRestore,
  verifyBackup,
} from '../src/index.ts'
import { scenario } from './support/scenario.ts'
import { codeOf, keysOf } from './support/text.ts'

type Scene = ReturnType<typeof scenario>

/** Makes backups of these kinds, each a minute after the one before and after a new entry. */
async function history({ plan, source, advance }: Scene, kinds: readonly ('full' | 'differential' | 'log')[]) {
  const made: { id: string; at: Date; state: unknown }[] = []
  for (const kind of kinds) {
    source.append(`${kind} ${made.length}`)
    const { id, manifest } = await createBackup(plan, { kind })
    made.push({ id, at: new Date(manifest.consistentAt), state: source.entries() })
    advance(60_000)
  }
  return made
}

const KINDS = ['full', 'log', 'differential', 'log', 'log', 'full', 'log'] as const

describe('planRecovery', () => {
  test.each([
    [0, ['full']],
    [1, ['full', 'log']],
    [2, ['full', 'differential']],
    [3, ['full', 'differential', 'log']],
    [4, ['full', 'differential', 'log', 'log']],
    [6, ['full', 'log']],
  ])('of backup %d uses %j', async (index, kinds) => {
    const scene = scenario(3)
    const made = await history(scene, KINDS)
    const { id } = made[index] as (typeof made)[number]
    const recovery = await planRecovery(scene.plan, { id })
    expect(recovery.backups.map(({ kind }) => kind)).toEqual(kinds)
    expect(recovery.backups.at(-1)?.id).toBe(id)
    expect(recovery.destinations).toEqual(['first', 'second'])
    expect(JSON.parse(JSON.stringify(recovery))).toMatchObject({ lossMs: expect.any(Number), warnings: [] })
  })

  test('by time takes the newest state that is not later', async () => {
    const scene = scenario(3)
    const made = await history(scene, KINDS)
    for (const [index, { at }] of made.entries()) {
      expect((await planRecovery(scene.plan, { at })).reachedAt, `backup ${index}`).toEqual(at)
      const later = await planRecovery(scene.plan, { at: new Date(at.getTime() + 30_000) })
      // Inside a later log of the chain, where there is one.
      if (index === 3) expect(later).toMatchObject({ stopAt: new Date(at.getTime() + 30_000), lossMs: 0 })
    }
    const early = new Date((made[0]?.at.getTime() as number) - 1000)
    expect(await codeOf(planRecovery(scene.plan, { at: early }))).toBe('POINT_UNREACHABLE')
    expect((await planRecovery(scene.plan)).backups.at(-1)?.id).toBe(made.at(-1)?.id)
  })

  test('reaches the time between the last log of a chain and the full of the next one', async () => {
    const scene = scenario(3)
    const made = await history(scene, ['full', 'log', 'log'])
    scene.source.append('after the last log, before the next full')
    const expected = scene.source.entries()
    const between = new Date((made[2]?.at.getTime() as number) + 90_000)
    scene.advance(60_000)
    made.push(...(await history(scene, ['full', 'log'])))
    const recovery = await planRecovery(scene.plan, { at: between })
    expect(recovery.backups.map(({ id }) => id)).toEqual([0, 1, 2, 4].map((index) => made[index]?.id))
    expect(recovery).toMatchObject({ reachedAt: between, stopAt: between, lossMs: 0 })
    await restoreBackup(scene.plan, { at: between, to: 'between' })
    expect(scene.source.entries('between')).toEqual(expected)
  })

  test('does not mix the log of another history into an older chain', async () => {
    const scene = scenario(3)
    const made = await history(scene, ['full', 'log'])
    await restoreBackup(scene.plan, { id: made[0]?.id as string })
    const after = await history(scene, ['full', 'log'])
    const between = new Date((after[0]?.at.getTime() as number) - 1000)
    const recovery = await planRecovery(scene.plan, { at: between })
    expect(recovery.backups.map(({ id }) => id)).toEqual(made.map(({ id }) => id))
    expect(recovery.reachedAt).toEqual(made[1]?.at)
  })

  test('is told the moment also when it is after the end of the last log', async () => {
    const scene = scenario(3)
    const made = await history(scene, ['full', 'log'])
    const at = new Date((made[1]?.at.getTime() as number) + 1000)
    expect(await planRecovery(scene.plan, { at })).toMatchObject({ stopAt: at, reachedAt: made[1]?.at, lossMs: 1000 })
  })

  test.each([
    [{ id: 'x' }, 'OPTIONS_INVALID'],
    [{ at: new Date(Number.NaN) }, 'OPTIONS_INVALID'],
    [{ at: '2026-01-01' }, 'OPTIONS_INVALID'],
    [{ id: '20260101T000000000Z-abcd/20260101T000000000Z-full', at: new Date() }, 'OPTIONS_INVALID'],
    [{ id: '20260101T000000000Z-abcd/20260101T000000000Z-full' }, 'BACKUP_NOT_FOUND'],
    [{}, 'BACKUP_NOT_FOUND'],
  ])('%j: %s', async (target, code) => {
    expect(await codeOf(planRecovery(scenario(3).plan, target as object))).toBe(code)
  })

  test('does not go over a gap, nor without the full', async () => {
    const scene = scenario(3)
    const made = await history(scene, ['full', 'log', 'log', 'log'])
    const remove = async (index: number): Promise<void> => {
      for (const storage of [scene.first, scene.second]) {
        for (const key of await keysOf(storage, `books/${made[index]?.id}/`)) await storage.delete(key)
      }
    }
    await remove(1)
    expect(await codeOf(planRecovery(scene.plan, { id: made[3]?.id as string }))).toBe('POINT_UNREACHABLE')
    expect((await planRecovery(scene.plan)).backups.map(({ kind }) => kind)).toEqual(['full'])
    await remove(0)
    expect(await codeOf(planRecovery(scene.plan, { id: made[3]?.id as string }))).toBe('BACKUP_NOT_FOUND')
    expect(await codeOf(planRecovery(scene.plan))).toBe('POINT_UNREACHABLE')
  })

  test('a log of no change tells until when nothing happened', async () => {
    const scene = scenario(3)
    const { plan, advance } = scene
    const full = await createBackup(plan)
    advance(60_000)
    const still = await createBackup(plan, { kind: 'log' })
    const at = new Date(still.manifest.consistentAt)
    for (const target of [{}, { at }, { id: still.id }]) {
      const recovery = await planRecovery(plan, target)
      expect(recovery.backups.map(({ id }) => id)).toEqual([full.id])
      expect(recovery.reachedAt).toEqual(at)
    }
    const middle = new Date(at.getTime() - 30_000)
    expect((await planRecovery(plan, { at: middle })).reachedAt).toEqual(new Date(full.manifest.consistentAt))
  })

  test('a damaged log stops only what needs it', async () => {
    const scene = scenario(3)
    const made = await history(scene, KINDS.slice(0, 5))
    const [, log] = made
    for (const storage of [scene.first, scene.second])
      await storage.put(`books/${log?.id}/manifest.json`, Buffer.from('{}'))
    // The differential after it holds the same.
    expect((await planRecovery(scene.plan)).backups.at(-1)?.id).toBe(made.at(-1)?.id)
    expect(await codeOf(planRecovery(scene.plan, { at: log?.at as Date }))).toBe('MANIFEST_DAMAGED')
  })

  test('reads a damaged manifest from the next destination, with a warning', async () => {
    const scene = scenario(3)
    const [full] = await history(scene, ['full'])
    await scene.first.put(`books/${full?.id}/manifest.json`, Buffer.from('{}'))
    const recovery = await planRecovery(scene.plan)
    expect(recovery.warnings).toEqual([expect.stringContaining('first')])
    await scene.second.put(`books/${full?.id}/manifest.json`, Buffer.from('{}'))
    expect(await codeOf(planRecovery(scene.plan))).toBe('MANIFEST_DAMAGED')
  })
})

describe('restoreBackup', () => {
  test.each([
    ['damaged', 'MEMBER_DAMAGED'],
    ['missing', 'OBJECT_MISSING'],
    ['out of reach', 'STORAGE_FAILED'],
  ])('goes to the next destination when a member of the first is %s', async (how, code) => {
    const scene = scenario(3)
    const [full] = await history(scene, ['full'])
    const [member] = (await keysOf(scene.first)).filter((key) => key.endsWith('.zst'))
    if (how === 'damaged') await scene.first.put(member as string, Buffer.from('not a frame'))
    if (how === 'missing') await scene.first.delete(member as string)
    if (how === 'out of reach')
      scene.first.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'get' && key === member }])
    const events: BackupEvent[] = []
    const result = await restoreBackup(scene.plan, { to: 'copy', onEvent: (event) => events.push(event) })
    expect(result.destination).toBe('second')
    expect(scene.source.entries('copy')).toEqual(full?.state)
    expect(events).toContainEqual(expect.objectContaining({ type: 'warning', code }))
  })

  test('fails when every destination is damaged, and touches nothing', async () => {
    const scene = scenario(3)
    await history(scene, ['full'])
    const live = scene.source.entries()
    for (const storage of [scene.first, scene.second]) {
      const [member] = (await keysOf(storage)).filter((key) => key.endsWith('.zst'))
      await storage.put(member as string, Buffer.from('not a frame'))
    }
    expect(await codeOf(restoreBackup(scene.plan))).toBe('MEMBER_DAMAGED')
    expect(scene.source.entries()).toEqual(live)
    expect(scene.source.places()).toEqual(['live'])
  })

  test('to a moment gives the entries of that moment', async () => {
    const scene = scenario(3)
    const made = await history(scene, ['full', 'log', 'log'])
    const entries = made.at(-1)?.state as { at: string }[]
    for (const [index, entry] of entries.entries()) {
      const at = new Date(entry.at)
      if (at < (made[0]?.at as Date)) continue
      const { recovery } = await restoreBackup(scene.plan, { at, to: `copy-${index}` })
      expect(scene.source.entries(`copy-${index}`)).toEqual(entries.slice(0, index + 1))
      expect(recovery.reachedAt.getTime()).toBeLessThanOrEqual(at.getTime())
    }
  })

  test('does without a differential that the adapter finds too late, if logs lead as far', async () => {
    const scene = scenario(1)
    const { plan } = scene
    const tooLate = new BackupError('POINT_UNREACHABLE', 'The differential was made later than its time says.')
    const adapter: BackupAdapter = {
      ...plan.adapter,
      restore: async (request, ctx) => {
        if (request.backups.some(({ manifest }) => manifest.kind === 'differential')) throw tooLate
        return plan.adapter.restore(request, ctx)
      },
    }
    const made = await history(scene, KINDS.slice(0, 4))
    const at = new Date((made[3]?.at.getTime() as number) - 30_000)
    const careful = { ...plan, adapter }
    const { recovery } = await restoreBackup(careful, { at, to: 'then' })
    expect(recovery.backups.map(({ kind }) => kind)).toEqual(['full', 'log', 'log'])
    expect(scene.source.entries('then')).toEqual(made[2]?.state)
    // As verifications do, in each destination by what it holds itself.
    const { destinations } = await verifyBackup(careful, { id: made[3]?.id as string, level: 'restored' })
    expect(destinations.map(({ passed }) => passed)).toEqual([true, true])
    for (const storage of [scene.first, scene.second])
      for (const key of await keysOf(storage, `books/${made[3]?.id}/`)) await storage.delete(key)
    // Without it there is none that leads over the differential.
    expect(await codeOf(restoreBackup(careful, { at, to: 'again' }))).toBe('POINT_UNREACHABLE')
  })

  test('works from storages that can only be read, and when no lock can be put', async () => {
    const scene = scenario(3)
    const [full] = await history(scene, ['full'])
    const archive = scene.planWith({ destinations: [readOnly(scene.first)] })
    await restoreBackup(archive, { to: 'one' })
    await verifyBackup(archive, { level: 'restored' })
    scene.first.restart([{ kind: 'error', code: 'STORAGE_FULL', when: ({ operation }) => operation === 'put' }])
    const events: BackupEvent[] = []
    await restoreBackup(scene.plan, { to: 'two', onEvent: (event) => events.push(event) })
    expect(events).toContainEqual(expect.objectContaining({ type: 'warning', code: 'STORAGE_FULL' }))
    expect([scene.source.entries('one'), scene.source.entries('two')]).toEqual([full?.state, full?.state])
  })

  test('runs the checks of the app on the staged database; one that throws stops it', async () => {
    const scene = scenario(3)
    await history(scene, ['full'])
    const live = scene.source.entries()
    const thrown = async (): Promise<never> => {
      throw new Error('sum is wrong')
    }
    expect(await codeOf(restoreBackup(scene.plan, { checks: [thrown] }))).toBe('INTERNAL')
    expect(scene.source.entries()).toEqual(live)
    const seen: string[] = []
    const { findings } = await restoreBackup(scene.plan, {
      checks: [
        async ({ location }) => {
          seen.push(location)
          return [{ check: 'sum', severity: 'warning', message: 'odd' }]
        },
      ],
    })
    expect(seen).toHaveLength(1)
    expect(findings.map(({ check }) => check)).toEqual(['sequence', 'sum'])
  })

  test.each([
    [{ overwrite: true }, 'OPTIONS_INVALID'],
    [{ to: 5 }, 'TARGET_INVALID'],
    [{ to: '' }, 'TARGET_INVALID'],
    [{ signal: AbortSignal.abort() }, 'ABORTED'],
  ])('%j: %s', async (options, code) => {
    const scene = scenario(3)
    await history(scene, ['full'])
    expect(await codeOf(restoreBackup(scene.plan, options))).toBe(code)
  })

  test('an undo record of another engine is refused', async () => {
    const { plan } = scenario(3)
    expect(await codeOf(undoRestore(plan, { engine: 'sqlite', target: 'x', kept: 'y', promotedAt: '' }))).toBe(
      'ENGINE_MISMATCH',
    )
  })
})
