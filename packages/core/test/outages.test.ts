import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { collect } from '../../testing/src/index.ts'
import {
  BackupError,
  type BackupEvent,
  createBackup,
  listBackups,
  type Notifier,
  verifyBackup,
  withRetry,
} from '../src/index.ts'
import { NotifierQueue } from '../src/verbs/notify.ts'
import { scenario } from './support/scenario.ts'
import { codeOf, keysOf } from './support/text.ts'

test('the source is asked before anything is written anywhere', async () => {
  const { planWith, source, first } = scenario(3)
  const adapter = {
    ...source.adapter,
    describe: async () => {
      throw new BackupError('SOURCE_MISSING', 'gone')
    },
  }
  expect(await codeOf(createBackup(planWith({ adapter })))).toBe('SOURCE_MISSING')
  expect(first.calls).toEqual([])
})

test('a manifest that was stored, though its put failed, is committed when the put is tried again', async () => {
  const { planWith, first, plan } = scenario(3)
  const destinations = [withRetry(first, { firstDelayMs: 1 })]
  first.restart([
    {
      kind: 'error',
      after: true,
      retryable: true,
      when: ({ operation, key, ofOperation }) =>
        operation === 'put' && key.endsWith('manifest.json') && ofOperation < 9,
    },
  ])
  const { id } = await createBackup(planWith({ destinations }))
  expect(first.struck.length).toBeGreaterThan(0)
  first.restart()
  await verifyBackup(planWith({ destinations }), { id, level: 'restored' })
  expect((await listBackups(plan)).backups.map((backup) => backup.id)).toEqual([id])
})

test('another manifest in the place of ours is neither replaced nor removed', async () => {
  const { planWith, source, first } = scenario(3)
  let theirs = ''
  const plan = planWith({
    destinations: [first],
    adapter: {
      ...source.adapter,
      async *backup(request, ctx) {
        const facts = yield* source.adapter.backup(request, ctx)
        theirs = `books/${request.id}/manifest.json`
        await first.put(theirs, Buffer.from('theirs'))
        return facts
      },
    },
  })
  expect(await codeOf(createBackup(plan))).toBe('DESTINATION_FAILED')
  expect(Buffer.concat(await collect(await first.get(theirs))).toString()).toBe('theirs')
})

describe('a verification that could not be made', () => {
  test.each([['get' as const], ['list' as const]])('because of a failing %s leaves no record', async (operation) => {
    const { plan, planWith, first } = scenario(3)
    const { id } = await createBackup(plan)
    await verifyBackup(plan, { id, level: 'restored' })
    first.restart([{ kind: 'error', when: (call) => call.operation === operation && !call.key.includes('/lock-') }])
    expect(await codeOf(verifyBackup(planWith({ destinations: [first] }), { id, level: 'decoded' }))).toMatch(
      /^(VERIFICATION|STORAGE)_FAILED$/,
    )
    first.restart()
    expect((await listBackups(plan)).backups).toMatchObject([{ verified: 'restored', failedVerification: false }])
  })

  test('is told as a failure all the same', async () => {
    const { plan, first } = scenario(3)
    const { id } = await createBackup(plan)
    first.restart([{ kind: 'error', when: ({ operation, key }) => operation === 'get' && key.includes('.zst') }])
    expect(await codeOf(verifyBackup(plan, { id, level: 'stored' }))).toBe('VERIFICATION_FAILED')
  })
})

test("the app's own checks run on the restored database, and fail the verification", async () => {
  const { plan, source } = scenario(3)
  const { id } = await createBackup(plan)
  const seen: string[] = []
  const checks = [
    async ({ location }: { location: string }) => {
      seen.push(location)
      return [{ check: 'owners', severity: 'error' as const, message: 'nobody owns it' }]
    },
  ]
  await expect(verifyBackup(plan, { id, level: 'restored', checks })).rejects.toMatchObject({
    code: 'VERIFICATION_FAILED',
    message: expect.stringContaining('nobody owns it'),
  })
  expect(new Set(seen).size).toBe(2) // one scratch place per destination
  expect(seen.some((location) => source.places().includes(location))).toBe(false)
  expect((await listBackups(plan)).backups[0]?.failedVerification).toBe(true)
})

describe('a damaged manifest of the chain', () => {
  test('in one destination is read from another', async () => {
    const { plan, first } = scenario(3)
    const { id } = await createBackup(plan)
    await first.put(`books/${id}/manifest.json`, Buffer.from('{}'))
    const events: BackupEvent[] = []
    const log = await createBackup(plan, { kind: 'log', onEvent: (event) => events.push(event) })
    expect(log.kind).toBe('log')
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'warning', message: expect.stringMatching(/damaged/) }),
    )
  })

  test('in all of them makes a full, and says why', async () => {
    const { plan, planWith, first, second } = scenario(3)
    const { id } = await createBackup(plan)
    for (const storage of [first, second]) await storage.put(`books/${id}/manifest.json`, Buffer.from('{}'))
    expect(await codeOf(createBackup(planWith({ strictKinds: true }), { kind: 'log' }))).toBe('BASE_MISSING')
    const { kind, manifest } = await createBackup(plan, { kind: 'log' })
    expect(kind).toBe('full')
    expect(manifest.requested).toMatchObject({ kind: 'log', reason: expect.stringMatching(/damaged/) })
    expect((await keysOf(first, `books/${manifest.id}`)).length).toBe(2)
  })
})

describe('a notifier', () => {
  test('gets its events one after another, however long each takes', async () => {
    const order: string[] = []
    const notifier: Notifier = async ({ type }) => {
      order.push(`${type} begins`)
      await sleep(type === 'started' ? 30 : 1)
      order.push(`${type} ends`)
    }
    await createBackup(scenario(3, { notifiers: [notifier] }).plan)
    expect(order).toEqual(['started begins', 'started ends', 'completed begins', 'completed ends'])
  })

  test('that hangs is left behind, and told of', async () => {
    const failures: string[] = []
    const told: string[] = []
    const notify: Notifier = async ({ type }) => {
      told.push(type)
      if (type === 'started') await new Promise(() => {})
    }
    const queue = new NotifierQueue(notify, (message) => failures.push(message), 20)
    const common = { plan: 'books', verb: 'createBackup', at: new Date() } as const
    queue.add({ type: 'started', ...common })
    queue.add({ type: 'completed', durationMs: 1, ...common })
    await queue.settled()
    expect(told).toEqual(['started', 'completed'])
    expect(failures).toEqual(['A notifier failed: it did not end within 0.02 s'])
  })
})
