import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type AdapterContext,
  type BackupAdapter,
  type BackupKind,
  type BackupPlan,
  type BackupPlanOptions,
  type BackupRequest,
  defineBackupPlan,
  type JsonValue,
  memory,
  type Storage,
} from '@taskflow-backup/core'
import { collect } from '../bytes.ts'
import type { ConformanceCase } from '../conformance-case.ts'

/** One database with its adapter, made for one case and destroyed afterwards. Has some content from the begin. */
export interface AdapterInstance {
  readonly adapter: BackupAdapter
  /** Commits a change, so that `state()` is another one afterwards. */
  mutate(): Promise<void>
  /** All that the live database holds, comparable with `deepEqual`. */
  state(): Promise<unknown>
  /** The same for a restored database: at a place that `placeFor` gave, or at a `StagedRestore`'s location. */
  stateOf(location: JsonValue): Promise<unknown>
  /** A place that does not exist yet, in the terms of the adapter's `to`. */
  placeFor(name: string): Promise<JsonValue>
  /** Removes the database and all that was restored. */
  destroy(): Promise<void>
  /** Texts that must not get into a manifest, an event or an error: passwords, tokens. */
  readonly secrets?: readonly string[]
  /** What lies around that is neither the live database, nor one kept for undo, nor at a place that was asked for. */
  leftovers?(): Promise<readonly string[]>
  /** Makes the next backup's source fail after its first bytes: a killed server, a broken file. */
  failSource?(): Promise<void>
  /** Damages the live database so that the engine's own check finds it. */
  corrupt?(): Promise<void>
  /** Makes it impossible for the next log backup to continue its chain. */
  breakLog?(): Promise<void>
  /** Ends what follows the log, as a crash would: the child process of `follow`. */
  killFollower?(): Promise<void>
  /** Shortest time that the engine's clock tells apart, in milliseconds. Default: 20. */
  readonly clockStepMs?: number
}

/** Makes instances of the adapter under test for `adapterCases`. */
export interface AdapterSubject {
  /** A new database with some content, and its adapter. */
  create(): Promise<AdapterInstance>
}

/** What a case gets: an instance, and a plan over a storage in memory. */
export interface Bench extends AdapterInstance {
  readonly storage: Storage
  readonly plan: BackupPlan
  /** Another plan with the same adapter and name. */
  planWith(options: Partial<BackupPlanOptions>): BackupPlan
  /** Lets the engine's clock move on. */
  tick(): Promise<void>
  /** Keys of all stored objects. */
  keys(): Promise<string[]>
}

/** What an instance must have for a case to concern it. */
export interface Needs {
  readonly kinds?: readonly BackupKind[]
  readonly pointInTime?: boolean
  readonly follow?: boolean
  /** Whether its logs can be restored to moments inside them, be it all or those that were captured. */
  readonly moments?: boolean
  /** Of the subject; `merge` of its adapter. */
  readonly methods?: readonly ('leftovers' | 'failSource' | 'corrupt' | 'breakLog' | 'killFollower' | 'merge')[]
}

/** A case whose instance is made before and destroyed after it. */
export function adapterCase(
  name: string,
  fault: string,
  needs: Needs,
  body: (bench: Bench) => Promise<void>,
): ConformanceCase<AdapterSubject> {
  return {
    name,
    fault,
    async skip(subject) {
      if (Object.keys(needs).length === 0) return undefined
      const instance = await subject.create()
      try {
        return lackOf(instance, needs)
      } finally {
        await instance.destroy()
      }
    },
    async run(subject) {
      const instance = await subject.create()
      try {
        if (lackOf(instance, needs) === undefined) await body(toBench(instance))
      } finally {
        await instance.destroy()
      }
    },
  }
}

function lackOf(
  instance: AdapterInstance,
  { kinds = [], pointInTime = false, follow = false, moments = false, methods = [] }: Needs,
): string | undefined {
  const kind = kinds.find((one) => !instance.adapter.kinds.includes(one))
  if (kind) return `the adapter makes no ${kind} backups`
  if (pointInTime && instance.adapter.pointInTime !== true) return 'the adapter does not restore to a point in time'
  if (follow && !instance.adapter.follow) return 'the adapter follows no log'
  if (moments && instance.adapter.pointInTime === false) return 'the adapter restores a log only to its end'
  const method = methods.find((one) => !(one === 'merge' ? instance.adapter.merge : instance[one]))
  if (method === 'merge') return 'the adapter does not merge logs'
  return method && `the subject has no ${method}()`
}

function toBench(instance: AdapterInstance): Bench {
  const storage = memory()
  const planWith = (options: Partial<BackupPlanOptions>) =>
    defineBackupPlan({ name: 'conformance', adapter: instance.adapter, destinations: [storage], ...options })
  return Object.assign(Object.create(instance) as AdapterInstance, {
    storage,
    plan: planWith({}),
    planWith,
    tick: () => sleep(instance.clockStepMs ?? 20),
    keys: async () => (await collect(storage.list(''))).map(({ key }) => key),
  })
}

/** A context for calling an adapter without core's verbs. */
export function contextOf(plan: BackupPlan, signal: AbortSignal = new AbortController().signal): AdapterContext {
  return { ...plan.runtime, signal, onProgress: () => {}, onWarning: () => {} }
}

/** A request for a full backup. */
export function fullRequest(plan: BackupPlan): BackupRequest {
  return {
    kind: 'full',
    id: '20260102T030405678Z-abcd/20260102T030405678Z-full',
    startedAt: new Date('2026-01-02T03:04:05.678Z'),
    fileStem: 'conformance_backup_20260102_030405',
    compression: plan.compression,
  }
}

/** Asserts that what holds the event loop open now is no more than `before`, soon. */
export async function assertLoopIsFree(before: readonly string[]): Promise<void> {
  const allowed = countsOf(before)
  let held: string[] = []
  for (let round = 0; round < 200; round++) {
    held = [...countsOf(process.getActiveResourcesInfo())].flatMap(([kind, count]) =>
      count > (allowed.get(kind) ?? 0) ? [kind] : [],
    )
    if (held.length === 0) return
    await sleep(25)
  }
  assert.fail(`the event loop is held open by ${held.join(', ')}`)
}

function countsOf(kinds: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}
