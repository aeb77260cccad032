import { describe, expect, test } from 'vitest'
import { ledger } from '../../testing/src/index.ts'
import { BackupError, type BackupPlanOptions, defineBackupPlan, memory } from '../src/index.ts'

const good = (): BackupPlanOptions => ({ name: 'books', adapter: ledger().adapter, destinations: [memory()] })

function problemsOf(options: unknown): string {
  try {
    defineBackupPlan(options as BackupPlanOptions)
  } catch (error) {
    expect(error).toBeInstanceOf(BackupError)
    expect((error as BackupError).code).toBe('PLAN_INVALID')
    return (error as BackupError).message
  }
  throw new Error('it was taken')
}

const BAD: readonly [string, object, RegExp][] = [
  ['name: a path', { name: '../x' }, /name: /],
  ['name: nothing', { name: '' }, /name: /],
  ['name: a number', { name: 5 }, /name: /],
  ['name: too long', { name: 'a'.repeat(101) }, /name: /],
  ['no adapter', { adapter: undefined }, /adapter: /],
  ['adapter: lacks a method', { adapter: { ...ledger().adapter, undo: undefined } }, /adapter: /],
  ['adapter: lacks kinds', { adapter: { ...ledger().adapter, kinds: undefined } }, /adapter: .*kinds/],
  ['destinations: none', { destinations: [] }, /destinations: .*at least one/],
  ['destinations: not a list', { destinations: memory() }, /destinations: /],
  ['destinations: not a storage', { destinations: [memory(), { put: 1 }] }, /destinations\.1: /],
  ['destinations: no capabilities', { destinations: [{ ...memory(), capabilities: undefined }] }, /destinations\.0: /],
  [
    'destinations: one name twice',
    {
      destinations: [
        { name: 'a', storage: memory() },
        { name: 'a', storage: memory() },
      ],
    },
    /two are named "a"/,
  ],
  [
    'destinations: default name taken',
    { destinations: [{ name: 'destination-2', storage: memory() }, memory()] },
    /two are named/,
  ],
  [
    'destinations: none required',
    { destinations: [{ storage: memory(), required: false }] },
    /at least one must be required/,
  ],
  ['compression: unknown', { compression: 'lz4' }, /compression: /],
  ['compression: level', { compression: { algorithm: 'zstd', level: 20 } }, /compression: /],
  ['compression: gzip level 0', { compression: { algorithm: 'gzip', level: 0 } }, /compression: /],
  ['compression: half a level', { compression: { algorithm: 'zstd', level: 2.5 } }, /compression/],
  ['retention', { retention: { daily: 3 } }, /retention: /],
  ['strictKinds', { strictKinds: 'yes' }, /strictKinds: /],
  ['notifiers', { notifiers: ['mail'] }, /notifiers\.0: /],
  ['verifiers', { verifiers: () => [] }, /verifiers: /],
  ['lockWaitMs', { lockWaitMs: -1 }, /lockWaitMs: /],
  ['temporaryDirectory', { temporaryDirectory: '' }, /temporaryDirectory: /],
  ['runtime', { runtime: { now: 5 } }, /runtime\.now: /],
  ['an unknown option', { destination: memory() }, /destination: is not an option/],
]

describe('defineBackupPlan', () => {
  test.each(BAD)('refuses %s', (_what, change, message) =>
    expect(problemsOf({ ...good(), ...change })).toMatch(message),
  )

  test('names every bad option in one error', () => {
    const message = problemsOf({
      ...good(),
      name: '',
      compression: 'lz4',
      retention: 1,
      strictKinds: 1,
      lockWaitMs: 'x',
      typo: 1,
    })
    for (const name of ['name', 'compression', 'retention', 'strictKinds', 'lockWaitMs', 'typo'])
      expect(message).toContain(`${name}: `)
    expect(message).toContain('6 bad options')
  })

  test.each([undefined, null, 5, 'plan', []])('refuses %j', (options) =>
    expect(problemsOf(options)).toMatch(/bad option/),
  )

  test('fills in defaults and is frozen', () => {
    const plan = defineBackupPlan({ ...good(), destinations: [memory(), { storage: memory(), required: false }] })
    expect(plan.destinations.map(({ name, required }) => [name, required])).toEqual([
      ['destination-1', true],
      ['destination-2', false],
    ])
    expect(plan.compression).toEqual({ algorithm: 'zstd', level: 3 })
    expect(plan.lockWaitMs).toBe(2000)
    expect(
      Object.isFrozen(plan) &&
        Object.isFrozen(plan.destinations) &&
        Object.isFrozen(plan.compression) &&
        Object.isFrozen(plan.runtime),
    ).toBe(true)
    expect(plan.runtime.randomId(16)).toMatch(/^[a-z0-9]{16}$/)
    expect(defineBackupPlan({ ...good(), compression: 'gzip' }).compression).toEqual({ algorithm: 'gzip', level: 6 })
    expect(defineBackupPlan({ ...good(), compression: { algorithm: 'none', level: 0 } }).compression.level).toBe(0)
  })
})
