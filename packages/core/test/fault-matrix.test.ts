import { describe, expect, test } from 'vitest'
import { collect, type Fault, type StorageCall, type StorageOperation } from '../../testing/src/index.ts'
import {
  BackupError,
  createBackup,
  inOrder,
  keepLast,
  listBackups,
  pruneBackups,
  restoreBackup,
  verifyBackup,
} from '../src/index.ts'
import { scenario } from './support/scenario.ts'
import { keysOf } from './support/text.ts'

// Every operation of every storage fails once, at every call number, in every way; with two required destinations and
// with the second one optional. Whatever happens: a right restore or a BackupError, and never a bad commit.

type Kind = { name: string; on: readonly StorageOperation[]; fault: Omit<Fault, 'when'> }

const ALL: readonly StorageOperation[] = ['put', 'get', 'stat', 'list', 'delete']
const KINDS: readonly Kind[] = [
  { name: 'error before', on: ALL, fault: { kind: 'error' } },
  { name: 'error after', on: ALL, fault: { kind: 'error', after: true } as Omit<Fault, 'when'> },
  { name: 'full', on: ['put'], fault: { kind: 'full' } },
  { name: 'short write, full answer', on: ['put'], fault: { kind: 'short-write' } },
  {
    name: 'short write, short answer',
    on: ['put'],
    fault: { kind: 'short-write', answer: 'stored' } as Omit<Fault, 'when'>,
  },
  { name: 'nothing written', on: ['put'], fault: { kind: 'short-write', at: 0 } as Omit<Fault, 'when'> },
  { name: 'last byte missing', on: ['put'], fault: { kind: 'short-write', at: 1_000_000 } as Omit<Fault, 'when'> },
  { name: 'flip at rest', on: ['put'], fault: { kind: 'flip' } },
  { name: 'flip of the first byte at rest', on: ['put'], fault: { kind: 'flip', at: 0 } as Omit<Fault, 'when'> },
  { name: 'flip while reading', on: ['get'], fault: { kind: 'flip' } },
  { name: 'truncated while reading', on: ['get'], fault: { kind: 'truncate' } },
  { name: 'empty while reading', on: ['get'], fault: { kind: 'truncate', at: 0 } as Omit<Fault, 'when'> },
]

/** Runs the whole scenario; every step may fail, but only with a BackupError. Gives what each step came to. */
async function run(required: boolean, where: 'first' | 'second', plan: readonly Fault[]) {
  const { source, first, second, planWith, advance } = scenario(3)
  const backupPlan = planWith({
    lockWaitMs: 0,
    compression: required ? 'zstd' : 'none',
    retention: keepLast(1),
    destinations: [
      { name: 'first', storage: first },
      { name: 'second', storage: second, required },
    ],
  })
  const storage = where === 'first' ? first : second
  storage.restart(plan)
  const outcomes: Record<string, string> = {}
  const step = async <T>(name: string, work: () => Promise<T>): Promise<T | undefined> => {
    const live = source.entries()
    try {
      const value = await work()
      outcomes[name] = 'ok'
      return value
    } catch (error) {
      if (!(error instanceof BackupError) || error.code === 'INTERNAL') throw error
      outcomes[name] = error.code
      expect(source.entries(), `the live database after a failed ${name}`).toEqual(live)
      expect(
        source.places().filter((place) => place.includes('staged')),
        `staged databases after ${name}`,
      ).toEqual([])
      return undefined
    }
  }
  /** State of the ledger at the start of each backup that was tried. */
  const states = new Map<string, unknown>()
  const backup = async (name: string, kind: 'full' | 'differential' | 'log') => {
    source.append(name)
    advance(1000)
    const state = source.entries()
    let tried: string | undefined
    const onEvent = (event: { type: string; backupId?: string }) => {
      if (event.type !== 'started' || !event.backupId) return
      tried = event.backupId
      states.set(tried, state)
    }
    const made = await step(name, () => createBackup(backupPlan, { kind, onEvent }))
    expect(made?.id ?? tried).toBe(tried)
  }
  await backup('full', 'full')
  await backup('log', 'log')
  await step('verify', () => verifyBackup(backupPlan, { level: 'restored' }))
  const restored = await step('restore', () => restoreBackup(backupPlan, { to: 'copy' }))
  const id = restored?.recovery.backups.at(-1)?.id
  if (id) expect(source.entries('copy'), 'the restored state').toEqual(states.get(id))
  await backup('second full', 'full')
  const restoredLive = await step('restore live', () => restoreBackup(backupPlan))
  if (restoredLive) expect(source.entries()).toEqual(states.get(restoredLive.recovery.backups.at(-1)?.id as string))
  await step('prune', () => pruneBackups(backupPlan))
  const calls = storage.calls.slice()
  const struck = storage.struck.slice()

  // The faults are over: what is listed must be whole, unless it was damaged at rest, which verification then says.
  first.restart()
  second.restart()
  const damagedAtRest = struck.some(({ fault }) => fault.kind === 'flip' && calls.length > 0)
  let count = 0
  for (const entry of (await listBackups(backupPlan)).backups) {
    const to = `check-${++count}`
    const code = await verifyBackup(backupPlan, { id: entry.id, level: 'restored' }).then(
      () => 'ok',
      (error: BackupError) => error.code,
    )
    if (!damagedAtRest) expect(code, `verification of ${entry.id}`).toBe('ok')
    const again = await restoreBackup(backupPlan, { id: entry.id, to }).then(
      () => 'ok',
      (error: BackupError) => error.code,
    )
    if (again === 'ok') expect(source.entries(to)).toEqual(states.get(entry.id))
    // The damage is in one destination; the other one has the backup whole.
    if (entry.destinations.length === 2) expect(again, 'a restore from the other destination').toBe('ok')
  }
  await pruneBackups(backupPlan)
  const left = await Promise.all([first, second].map((one) => keysOf(one)))
  const ids = new Set((await listBackups(backupPlan)).backups.map((entry) => entry.id))
  const orphans = left.flat().filter((key) => !ids.has(key.split('/').slice(1, 3).join('/')))
  expect(orphans, 'left-overs after the next prune').toEqual([])
  const locks = await Promise.all([first, second].map(async (one) => (await collect(one.list('books/lock-'))).length))
  expect(locks, 'locks that stay').toEqual([0, 0])
  return { outcomes, calls, struck }
}

describe.each([
  { where: 'first', required: true },
  { where: 'second', required: true },
  { where: 'second', required: false },
] as const)('faults in the $where destination, the second required: $required', ({ where, required }) => {
  test.each(KINDS)('$name at every call', async ({ on, fault }) => {
    const { outcomes, calls } = await run(required, where, [])
    expect(new Set(Object.values(outcomes))).toEqual(new Set(['ok']))
    let struck = 0
    const one = async (call: StorageCall): Promise<void> => {
      const found = await run(required, where, [{ ...fault, when: call.number } as Fault]).catch((error: unknown) => {
        throw new Error(
          `${call.operation} ${call.key} (call ${call.number}): ${error instanceof Error ? error.message : error}`,
          { cause: error },
        )
      })
      struck += found.struck.length
    }
    // Side by side, because much of the time goes into waiting for the lock.
    for await (const _ of inOrder(
      calls.filter(({ operation }) => on.includes(operation)),
      12,
      one,
    ));
    expect(struck).toBeGreaterThan(0)
  })
})
