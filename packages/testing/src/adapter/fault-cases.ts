import assert from 'node:assert/strict'
import type { Readable } from 'node:stream'
import {
  type BackupAdapter,
  type BackupEvent,
  createBackup,
  type Finding,
  isKeySegment,
  type OpenBackup,
  restoreBackup,
  verifyBackup,
} from '@taskflow-backup/core'
import { patterned, readAll, streamOf } from '../bytes.ts'
import { rejects, settled } from '../expect.ts'
import { faulty, type StorageCall } from '../faulty.ts'
import { adapterCase, type Bench, contextOf, fullRequest } from './subject.ts'

const isMember = ({ key, operation }: StorageCall, wanted: StorageCall['operation']): boolean =>
  operation === wanted && key.split('/').length === 4 && !key.endsWith('.json')

async function assertNothingLeft({ keys, leftovers }: Bench, before: readonly string[]): Promise<void> {
  assert.deepEqual(await keys(), before, 'objects are left in the storage')
  if (leftovers) assert.deepEqual(await leftovers(), [], 'something is left beside the live database')
}

/** Aborts as soon as a call hangs. */
async function abortWhenHanging(struck: () => boolean, work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const aborter = new AbortController()
  const timer = setInterval(() => struck() && aborter.abort(), 5)
  try {
    await rejects(work(aborter.signal), 'the aborted verb', 'ABORTED')
    assert.ok(struck(), 'it was never in the middle')
  } finally {
    clearInterval(timer)
  }
}

/** Plain members of the newest backup, read through a verifier. */
async function plainMembers(bench: Bench): Promise<{ name: string; plain: Buffer }[]> {
  const members: { name: string; plain: Buffer }[] = []
  const capture = async (backup: OpenBackup): Promise<Finding[]> => {
    for (const { name } of backup.manifest.members)
      members.push({ name, plain: await readAll(await backup.open(name)) })
    return []
  }
  await createBackup(bench.plan)
  await verifyBackup(bench.planWith({ verifiers: [capture] }), { level: 'decoded' })
  return members
}

async function inspected(bench: Bench, name: string, body: Buffer, plainBytes: number): Promise<'good' | 'bad'> {
  const stream = streamOf(body, 20_000)
  try {
    const findings = await bench.adapter.inspect({ name, body: stream, plainBytes }, contextOf(bench.plan))
    return findings.some(({ severity }) => severity === 'error') ? 'bad' : 'good'
  } catch {
    return 'bad'
  } finally {
    stream.destroy()
  }
}

/** Runs a backup without core to its end; gives the names of its members. */
async function drain(adapter: BackupAdapter, bench: Bench, signal?: AbortSignal): Promise<string[]> {
  const names: string[] = []
  const source = adapter.backup(fullRequest(bench.plan), contextOf(bench.plan, signal))
  for (let step = await source.next(); !step.done; step = await source.next()) {
    names.push(step.value.name)
    await readAll(step.value.body)
  }
  return names
}

export const faultCases = [
  adapterCase('member names are file names, each given once', 'gives names that storages refuse', {}, async (bench) => {
    const names = await drain(bench.adapter, bench)
    assert.ok(names.length > 0, 'there is no member')
    assert.equal(new Set(names).size, names.length, 'two members have one name')
    for (const name of names) assert.ok(isKeySegment(name), `${JSON.stringify(name)} is no file name`)
  }),
  adapterCase(
    'a failing source never gives a backup',
    'ends a body cleanly although its source failed',
    { methods: ['failSource'] },
    async (bench) => {
      await bench.failSource?.()
      await rejects(createBackup(bench.plan), 'the backup')
      await assertNothingLeft(bench, [])
    },
  ),
  adapterCase(
    'a backup that is aborted already does not end cleanly',
    'ignores an abort while backing up',
    {},
    async (bench) => {
      const outcome = await settled(drain(bench.adapter, bench, AbortSignal.abort()), 'the aborted backup')
      assert.ok('error' in outcome, 'it went on to its end')
      await assertNothingLeft(bench, [])
    },
  ),
  adapterCase(
    'a restore that is aborted already stages nothing',
    'ignores an abort while restoring',
    {},
    async (bench) => {
      await createBackup(bench.plan)
      const ctx = contextOf(bench.plan, AbortSignal.abort())
      const attempt = async (backup: OpenBackup): Promise<Finding[]> => {
        const request = { backups: [backup], target: { kind: 'scratch' }, evenIfInUse: false } as const
        const outcome = await settled(bench.adapter.restore(request, ctx), 'the aborted restore')
        if ('value' in outcome) await outcome.value.discard()
        return [
          {
            check: 'abort',
            severity: 'error' in outcome ? 'ok' : 'error',
            message: 'it was staged in spite of the abort',
          },
        ]
      }
      await verifyBackup(bench.planWith({ verifiers: [attempt] }), { level: 'decoded' })
      if (bench.leftovers) assert.deepEqual(await bench.leftovers(), [], 'something is left')
    },
  ),
  adapterCase(
    'an abort in the middle of a backup leaves nothing',
    'leaves something of an aborted backup',
    {},
    async (bench) => {
      const storage = faulty(bench.storage, { plan: [{ kind: 'hang', when: (call) => isMember(call, 'put') }] })
      const plan = bench.planWith({ destinations: [storage] })
      await abortWhenHanging(
        () => storage.struck.length > 0,
        (signal) => createBackup(plan, { signal }),
      )
      await assertNothingLeft(bench, [])
      await createBackup(bench.plan)
    },
  ),
  adapterCase(
    'an abort in the middle of a restore leaves nothing',
    'leaves something of an aborted restore',
    {},
    async (bench) => {
      await createBackup(bench.plan)
      await bench.mutate()
      const live = await bench.state()
      const before = await bench.keys()
      const storage = faulty(bench.storage, { plan: [{ kind: 'hang', when: (call) => isMember(call, 'get') }] })
      const plan = bench.planWith({ destinations: [storage] })
      const to = await bench.placeFor('copy')
      for (const target of [{}, { to }]) {
        storage.restart([{ kind: 'hang', when: (call) => isMember(call, 'get') }])
        await abortWhenHanging(
          () => storage.struck.length > 0,
          (signal) => restoreBackup(plan, { signal, ...target }),
        )
        assert.deepEqual(await bench.state(), live, 'the live database was touched')
        await assertNothingLeft(bench, before)
      }
      await restoreBackup(bench.plan, { to })
    },
  ),
  adapterCase('a restore whose members break off leaves nothing', 'leaves a half-built database', {}, async (bench) => {
    await createBackup(bench.plan)
    await bench.mutate()
    const live = await bench.state()
    const before = await bench.keys()
    const storage = faulty(bench.storage)
    const plan = bench.planWith({ destinations: [storage] })
    for (const fault of [{ kind: 'truncate' }, { kind: 'flip' }, { kind: 'error', after: true }] as const) {
      storage.restart([{ ...fault, when: (call) => isMember(call, 'get') }])
      await rejects(restoreBackup(plan), `the restore with ${fault.kind}`)
      await rejects(restoreBackup(plan, { to: await bench.placeFor(`copy-${fault.kind}`) }), 'the restore to a place')
      assert.ok(storage.struck.length > 0)
      assert.deepEqual(await bench.state(), live, 'the live database was touched')
      await assertNothingLeft(bench, before)
    }
  }),
  adapterCase('inspect finds no fault with a whole member', 'rejects its own members', {}, async (bench) => {
    for (const { name, plain } of await plainMembers(bench)) {
      assert.equal(await inspected(bench, name, plain, plain.length), 'good', name)
    }
  }),
  adapterCase(
    'inspect finds a member whose begin is overwritten',
    'says that a damaged member is good',
    {},
    async (bench) => {
      for (const { name, plain } of await plainMembers(bench)) {
        const damaged = Buffer.concat([patterned(Math.min(64, plain.length), 9), plain.subarray(64)])
        assert.equal(await inspected(bench, name, damaged, plain.length), 'bad', name)
      }
    },
  ),
  adapterCase('inspect finds a member that is cut short', 'says that a truncated member is good', {}, async (bench) => {
    for (const { name, plain } of await plainMembers(bench)) {
      assert.equal(await inspected(bench, name, plain.subarray(0, plain.length >> 1), plain.length), 'bad', name)
    }
  }),
  adapterCase(
    'inspect reads a body to its end or destroys it',
    'leaves the body of an inspection open',
    {},
    async (bench) => {
      for (const { name, plain } of await plainMembers(bench)) {
        for (const bytes of [plain, patterned(300_000)]) {
          const body: Readable = streamOf(bytes, 4096)
          await bench.adapter.inspect({ name, body, plainBytes: bytes.length }, contextOf(bench.plan)).catch(() => {})
          assert.ok(body.destroyed || body.readableEnded, name)
        }
      }
    },
  ),
  adapterCase('no secret gets into what is stored, told or thrown', 'stores or tells a secret', {}, async (bench) => {
    const { secrets = [] } = bench
    const events: BackupEvent[] = []
    const result = await createBackup(bench.plan, { onEvent: (event) => events.push(event) })
    const texts = [
      JSON.stringify(result),
      JSON.stringify(events),
      JSON.stringify(await bench.adapter.describe(contextOf(bench.plan))),
    ]
    for (const key of await bench.keys())
      if (key.endsWith('.json')) texts.push(String(await readAll(await bench.storage.get(key))))
    await bench.failSource?.()
    const error = await createBackup(bench.plan).catch((thrown: unknown) => thrown)
    if (error instanceof Error)
      texts.push(error.message, JSON.stringify(error), String(error.stack), String(error.cause))
    for (const secret of secrets) assert.ok(!texts.some((text) => text.includes(secret)), 'a secret got out')
  }),
  adapterCase('the backup of another engine is refused', 'restores what another engine made', {}, async (bench) => {
    await createBackup(bench.plan)
    const live = await bench.state()
    const foreign = Object.assign(Object.create(bench.adapter) as BackupAdapter, { engine: 'another-engine' })
    await rejects(restoreBackup(bench.planWith({ adapter: foreign })), 'the restore', 'ENGINE_MISMATCH')
    assert.deepEqual(await bench.state(), live)
  }),
]
