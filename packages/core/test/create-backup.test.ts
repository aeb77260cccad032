import type { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { brokenStream, collect, patterned, streamOf } from '../../testing/src/index.ts'
import {
  type BackupAdapter,
  type BackupEvent,
  type BackupFacts,
  createBackup,
  listBackups,
  readOnly,
  restoreBackup,
  verifyBackup,
} from '../src/index.ts'
import { scenario } from './support/scenario.ts'
import { codeOf, keysOf } from './support/text.ts'

describe('createBackup', () => {
  test('stores the same in every destination, the manifest last', async () => {
    const { plan, first, second } = scenario(120)
    const backup = await createBackup(plan)
    expect(await keysOf(first)).toEqual(await keysOf(second))
    expect(await keysOf(first)).toEqual([
      `books/${backup.id}/books_backup_20261122_120000.part-1.jsonl.zst`,
      `books/${backup.id}/books_backup_20261122_120000.part-2.jsonl.zst`,
      `books/${backup.id}/books_backup_20261122_120000.part-3.jsonl.zst`,
      `books/${backup.id}/manifest.json`,
    ])
    const puts = first.calls.filter(({ operation, key }) => operation === 'put' && !key.includes('/lock-'))
    expect(puts.at(-1)?.key).toBe(`books/${backup.id}/manifest.json`)
    expect(backup.storedBytes).toBe(backup.manifest.members.reduce((sum, member) => sum + member.stored.bytes, 0))
    expect(JSON.parse(JSON.stringify(backup))).toEqual(backup)
    expect(await keysOf(first, 'books/lock-')).toEqual([])
  })

  test('leaves an optional destination out that fails, and says so', async () => {
    const { planWith, first, second } = scenario(3)
    const destinations = [
      { name: 'first', storage: first },
      { name: 'second', storage: second, required: false },
    ]
    const plan = planWith({ destinations })
    second.restart([{ kind: 'error', when: ({ operation }) => operation === 'put' }])
    const events: BackupEvent[] = []
    const backup = await createBackup(plan, { onEvent: (event) => events.push(event) })
    expect(backup.destinations).toEqual([
      { name: 'first' },
      { name: 'second', error: { code: 'STORAGE_FAILED', message: expect.any(String) } },
    ])
    expect(events).toContainEqual(expect.objectContaining({ type: 'warning', code: 'STORAGE_FAILED' }))
    expect((await listBackups(plan)).backups).toMatchObject([{ id: backup.id, destinations: ['first'] }])
    // A log cannot continue in a destination that lacks the chain; it is left out there.
    second.restart()
    const log = await createBackup(plan, { kind: 'log' })
    expect(log.destinations[1]?.error?.code).toBe('BASE_MISSING')
    expect(log.kind).toBe('log')
  })

  test('has the adapter forget a backup that was made but could not be committed, and only such a one', async () => {
    const scene = scenario()
    const { adapter } = scene.source
    const forgotten: string[] = []
    const forget: NonNullable<typeof adapter.forget> = async ({ kind }) => void forgotten.push(kind)
    const plan = scene.planWith({ adapter: { ...adapter, forget } })
    scene.second.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'put' && /manifest/.test(key) }])
    expect(await codeOf(createBackup(plan))).toBe('DESTINATION_FAILED')
    expect(forgotten).toEqual(['full'])
    scene.second.restart()
    await createBackup(plan)
    scene.source.failSource() // the adapter clears up itself
    await expect(createBackup(plan)).rejects.toThrow()
    expect(forgotten).toEqual(['full'])
  })

  test('commits nothing when a required destination fails', async () => {
    const { plan, first, second, source } = scenario(3)
    second.restart([{ kind: 'full', when: ({ key }) => key.endsWith('.zst') }])
    await expect(createBackup(plan)).rejects.toMatchObject({
      code: 'DESTINATION_FAILED',
      details: { destination: 'second', code: 'STORAGE_FULL' },
    })
    second.restart()
    expect([await keysOf(first), await keysOf(second)]).toEqual([[], []])
    source.append('more')
    await createBackup(plan)
  })

  test('refuses what it cannot do before it touches anything', async () => {
    const { source, planWith, first } = scenario(3)
    const fullOnly: BackupAdapter = { ...source.adapter, kinds: ['full'] }
    expect(await codeOf(createBackup(planWith({ adapter: fullOnly }), { kind: 'log' }))).toBe('KIND_UNSUPPORTED')
    expect(await codeOf(createBackup(planWith({ destinations: [readOnly(first)] })))).toBe('STORAGE_READ_ONLY')
    expect(await codeOf(createBackup(planWith({ strictKinds: true }), { kind: 'log' }))).toBe('BASE_MISSING')
    expect(await codeOf(createBackup(planWith({}), { signal: AbortSignal.abort() }))).toBe('ABORTED')
    expect(await keysOf(first)).toEqual([])
  })

  test('makes a full, with the reason, where nothing can be continued', async () => {
    const { plan, source } = scenario(3)
    const first = await createBackup(plan, { kind: 'differential' })
    expect(first.manifest).toMatchObject({
      kind: 'full',
      requested: { kind: 'differential', reason: expect.stringContaining('no full') },
    })
    source.truncateLog()
    expect((await createBackup(plan, { kind: 'log' })).manifest).toMatchObject({
      kind: 'full',
      requested: { kind: 'log' },
    })
  })

  test('ids stay in order and unique although the clock stands still or goes back', async () => {
    const { planWith, source } = scenario(3)
    let nowMs = Date.UTC(2026, 10, 22, 12)
    const plan = planWith({ runtime: { now: () => new Date(nowMs) } })
    const states = new Map<string, unknown>()
    for (const kind of ['full', 'log', 'log', 'differential', 'log', 'differential'] as const) {
      source.append(kind)
      const { id } = await createBackup(plan, { kind })
      expect(states.has(id)).toBe(false)
      states.set(id, source.entries())
      nowMs -= 60_000
    }
    expect((await listBackups(plan)).backups.map(({ id }) => id)).toEqual([...states.keys()])
    for (const [index, [id, state]] of [...states].entries()) {
      await restoreBackup(plan, { id, to: `copy-${index}` })
      expect(source.entries(`copy-${index}`)).toEqual(state)
    }
  })

  const FACTS: BackupFacts = {
    consistentAt: new Date(0),
    position: { end: '1.1' },
    source: { name: 'x', engineVersion: '1' },
    method: 'x',
    notes: [],
  }
  const destroyedSoon = (): Readable => {
    const body = brokenStream(patterned(100_000))
    setTimeout(() => body.destroy(), 10)
    return body
  }
  const failures: Record<string, [bodies: () => Readable[], end: Error | BackupFacts]> = {
    'throws before its first member': [() => [], new Error('no')],
    'fails in the middle of a member': [() => [brokenStream(patterned(100_000), new Error('no'))], FACTS],
    'destroys a body without an error': [() => [destroyedSoon()], FACTS],
    'throws after its last member': [() => [streamOf(patterned(9))], new Error('no')],
    'gives no member': [() => [], FACTS],
    'gives two members of one name': [() => [streamOf(patterned(9)), streamOf(patterned(9))], FACTS],
  }
  test.each(Object.keys(failures))('commits nothing when the adapter %s', async (name) => {
    const { source, planWith, first, second } = scenario(3)
    const [bodies, end] = failures[name] as (typeof failures)[string]
    const backup: BackupAdapter['backup'] = async function* () {
      for (const body of bodies()) yield { name: 'a', body }
      if (end instanceof Error) throw end
      return end
    }
    const code = await codeOf(createBackup(planWith({ adapter: { ...source.adapter, backup } })))
    expect(['INTERNAL', 'CONTRACT_BROKEN']).toContain(code)
    expect([await keysOf(first), await keysOf(second)]).toEqual([[], []])
  })

  test('is abandoned when its lock is lost', async () => {
    const { planWith, source, first, second } = scenario(3)
    const { adapter } = source
    const plan = planWith({
      adapter: {
        ...adapter,
        async *backup(request, ctx) {
          const facts = yield* adapter.backup(request, ctx)
          for (const { key } of await collect(first.list('books/lock-'))) await first.delete(key)
          return facts
        },
      },
    })
    expect(await codeOf(createBackup(plan))).toBe('LOCK_LOST')
    expect([await keysOf(first), await keysOf(second)]).toEqual([[], []])
  })
})

describe('listBackups', () => {
  test('works with a destination that cannot be read, and names it', async () => {
    const { plan, first, second } = scenario(3)
    const { id } = await createBackup(plan)
    first.restart([{ kind: 'error', code: 'STORAGE_DENIED', when: ({ operation }) => operation === 'list' }])
    const catalog = await listBackups(plan)
    expect(catalog.backups).toMatchObject([{ id, destinations: ['second'], held: false, failedVerification: false }])
    expect(catalog.unreachable).toEqual([{ destination: 'first', code: 'STORAGE_DENIED', message: expect.any(String) }])
    second.restart([{ kind: 'error', when: () => true }])
    expect(await codeOf(listBackups(plan))).toBe('STORAGE_DENIED')
  })

  test('reads no object', async () => {
    const { plan, first, second } = scenario(3)
    for (const kind of ['full', 'log', 'log'] as const) await createBackup(plan, { kind })
    for (const storage of [first, second]) storage.restart()
    await listBackups(plan)
    expect([...first.calls, ...second.calls].map(({ operation }) => operation)).toEqual(['list', 'list'])
  })

  test('shows what was never committed as incomplete, and foreign objects not at all', async () => {
    const { plan, first } = scenario(3)
    const { id } = await createBackup(plan)
    const gone = id.replace('120000', '110000').replace(/Z-full$/, 'Z-log')
    await first.put(`books/${gone}/x.db.zst`, patterned(5))
    for (const key of ['books/notes.txt', 'books/a/b/c/d', 'other/x', 'books/x/manifest.json'])
      await first.put(key, patterned(5))
    const { backups, incomplete } = await listBackups(plan)
    expect(backups.map((backup) => backup.id)).toEqual([id])
    expect(incomplete).toEqual([gone])
  })
})

test('verification is recorded, contradicted and shown', async () => {
  const { plan, first, second } = scenario(3)
  const { id, manifest } = await createBackup(plan)
  const verified = async () =>
    (await listBackups(plan)).backups.map((entry) => [entry.verified, entry.failedVerification])[0]
  expect(await verified()).toEqual([undefined, false])
  await verifyBackup(plan, { id, level: 'restored' })
  expect(await verified()).toEqual(['restored', false])
  const key = `books/${id}/${manifest.members[0]?.file}`
  const whole = Buffer.concat(await collect(await first.get(key)))
  await first.put(key, Buffer.concat([whole.subarray(1), Buffer.from('x')]))
  await expect(verifyBackup(plan, { level: 'stored' })).rejects.toMatchObject({
    code: 'VERIFICATION_FAILED',
    details: { id, level: 'stored' },
  })
  expect(await verified()).toEqual([undefined, true])
  await first.put(key, whole)
  await verifyBackup(plan, { id, level: 'stored' })
  // The other destination's copy was never damaged.
  expect(await verified()).toEqual(['restored', false])
  expect(second.struck).toEqual([])
})

test('an inspection that does not read to the end hides no damage', async () => {
  const { source, planWith, first } = scenario(3)
  const adapter: BackupAdapter = {
    ...source.adapter,
    async inspect({ body }) {
      for await (const _ of body) break
      return []
    },
  }
  const plan = planWith({ adapter, destinations: [first], compression: 'none' })
  const { id, manifest } = await createBackup(plan)
  await verifyBackup(plan, { id })
  const key = `books/${id}/${manifest.members[0]?.file}`
  const whole = Buffer.concat(await collect(await first.get(key)))
  await first.put(key, Buffer.concat([whole.subarray(0, -1), Buffer.from('x')]))
  expect(await codeOf(verifyBackup(plan, { id }))).toBe('VERIFICATION_FAILED')
})
