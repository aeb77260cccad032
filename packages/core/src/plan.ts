import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { tmpdir } from 'node:os'
import * as v from 'valibot'
import type { BackupAdapter, Compression, Runtime } from './contracts/adapter.ts'
import type { Notifier } from './contracts/events.ts'
import type { RetentionPolicy } from './contracts/policy.ts'
import type { Storage } from './contracts/storage.ts'
import type { Verifier } from './contracts/verifier.ts'
import { BackupError } from './errors.ts'
import { defaultRetention } from './retention/keep-within.ts'
import { isKeySegment } from './storage/key.ts'

/** A storage with a name in a plan. */
export interface Destination {
  /** For messages and results. Default: `destination-1`, `destination-2`, … */
  readonly name: string
  readonly storage: Storage
  /** When false, a backup is committed although this destination failed. Default: true. */
  readonly required: boolean
}

/** What {@link defineBackupPlan} takes. */
export interface BackupPlanOptions {
  /** Folder name in every destination: letters, digits, `.`, `_` and `-`, at most 100. */
  readonly name: string
  readonly adapter: BackupAdapter
  /** Where every backup goes, all at once. At least one; at least one of them required. */
  readonly destinations: readonly (Storage | { name?: string; storage: Storage; required?: boolean })[]
  /** Default: zstd, level 3. Levels: zstd 1 to 19 (default 3), gzip 1 to 9 (default 6). */
  readonly compression?: Compression['algorithm'] | { algorithm: Compression['algorithm']; level?: number }
  /** Default: 30 days daily, 90 days weekly, 1 year monthly, 7 years yearly. */
  readonly retention?: RetentionPolicy
  /** Fail instead of making a full backup when a differential or log backup has no usable base. Default: false. */
  readonly strictKinds?: boolean
  /** Told about every event but `progress` and `logged`. Default: none. */
  readonly notifiers?: readonly Notifier[]
  /** Checks of your own at the levels `decoded` and `restored`. Default: none. */
  readonly verifiers?: readonly Verifier[]
  /** How long to wait for another process that works on this plan, in milliseconds. Default: 2,000. */
  readonly lockWaitMs?: number
  /** Folder for temporary files. Default: the system's. */
  readonly temporaryDirectory?: string
  /** Replaces clock, random ids or process spawning: for tests. */
  readonly runtime?: Partial<Omit<Runtime, 'temporaryDirectory'>>
}

/** What to back up, how, and where to. Frozen; made by {@link defineBackupPlan}; every verb takes it first. */
export interface BackupPlan {
  readonly name: string
  readonly adapter: BackupAdapter
  readonly destinations: readonly Destination[]
  readonly compression: Compression
  readonly retention: RetentionPolicy
  readonly strictKinds: boolean
  readonly notifiers: readonly Notifier[]
  readonly verifiers: readonly Verifier[]
  readonly lockWaitMs: number
  readonly runtime: Runtime
}

const methods = (what: string, ...names: string[]) =>
  v.custom<object>(
    (value) =>
      typeof value === 'object' &&
      value !== null &&
      names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function'),
    `must be ${what}: an object with ${names.join(', ')}`,
  )
const fn = (what: string) => v.custom((value) => typeof value === 'function', `must be ${what}: a function`)
const storageSchema = v.pipe(
  methods('a storage', 'put', 'get', 'stat', 'list', 'delete', 'describe'),
  v.check(
    (storage) => typeof (storage as Partial<Storage>).capabilities === 'object',
    'must be a storage: `capabilities` is missing',
  ),
)
const adapterSchema = v.pipe(
  methods('an adapter', 'describe', 'backup', 'restore', 'undo', 'inspect', 'comparePositions', 'removeLeftovers'),
  v.check(
    (adapter) => Array.isArray((adapter as Partial<BackupAdapter>).kinds),
    'must be an adapter: `kinds` is missing',
  ),
)
const MAX_LEVEL = { zstd: 19, gzip: 9, none: 0 } as const
const DEFAULT_LEVEL = { zstd: 3, gzip: 6, none: 0 } as const
const algorithm = v.picklist(['zstd', 'gzip', 'none'], 'must be "zstd", "gzip" or "none"')

const schema = v.strictObject({
  name: v.pipe(
    v.string('must be a string'),
    v.maxLength(100, 'must have at most 100 characters'),
    v.check(isKeySegment, 'must be letters, digits, ".", "_" and "-", beginning with a letter or digit'),
  ),
  adapter: adapterSchema,
  destinations: v.pipe(
    v.array(
      v.union(
        [
          storageSchema,
          v.strictObject({
            name: v.optional(v.pipe(v.string(), v.nonEmpty())),
            storage: storageSchema,
            required: v.optional(v.boolean()),
          }),
        ],
        'must be a storage, or { name, storage, required }',
      ),
      'must be a list of storages',
    ),
    v.minLength(1, 'must have at least one storage'),
  ),
  compression: v.optional(
    v.union(
      [
        algorithm,
        v.pipe(
          v.strictObject({ algorithm, level: v.optional(v.pipe(v.number(), v.integer())) }),
          v.check(
            ({ algorithm, level }) =>
              level === undefined || (level >= Math.min(1, MAX_LEVEL[algorithm]) && level <= MAX_LEVEL[algorithm]),
          ),
        ),
      ],
      'must be "zstd", "gzip", "none", or { algorithm, level } with level 1 to 19 for zstd, 1 to 9 for gzip',
    ),
  ),
  retention: v.optional(fn('a retention policy')),
  strictKinds: v.optional(v.boolean('must be true or false')),
  notifiers: v.optional(v.array(fn('a notifier'), 'must be a list of notifiers')),
  verifiers: v.optional(v.array(fn('a verifier'), 'must be a list of verifiers')),
  lockWaitMs: v.optional(v.pipe(v.number('must be a number'), v.minValue(0, 'must not be negative'))),
  temporaryDirectory: v.optional(v.pipe(v.string('must be a path'), v.nonEmpty('must be a path'))),
  runtime: v.optional(
    v.strictObject({
      now: v.optional(fn('a clock')),
      randomId: v.optional(fn('a source of ids')),
      spawn: v.optional(fn('a spawn function')),
    }),
  ),
})

/**
 * Makes a plan, validated at once.
 *
 * @throws `PLAN_INVALID`, naming every bad option
 *
 * @example
 * ```ts
 * import { defineBackupPlan, directory, memory } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({
 *   name: 'taskmanagement',
 *   adapter: sqlite({ file: 'taskmanagement.db' }),
 *   destinations: [directory('/var/backups/taskflow'), { name: 'copy', storage: memory(), required: false }],
 * })
 * console.log(plan.destinations.map((destination) => destination.name)) // [ 'destination-1', 'copy' ]
 * ```
 */
export function defineBackupPlan(options: BackupPlanOptions): BackupPlan {
  const result = v.safeParse(schema, options)
  const problems = result.success
    ? []
    : result.issues.map((issue) => {
        const path = v.getDotPath(issue)
        const unknown = issue.expected === 'never'
        return unknown
          ? `${path}: is not an option`
          : path
            ? `${path}: ${issue.message}`
            : 'the options must be an object'
      })
  const destinations = result.success ? options.destinations.map(toDestination) : []
  const names = destinations.map((destination) => destination.name)
  for (const name of new Set(names.filter((name, index) => names.indexOf(name) !== index))) {
    problems.push(`destinations: two are named "${name}"`)
  }
  if (result.success && !destinations.some((destination) => destination.required)) {
    problems.push('destinations: at least one must be required')
  }
  if (problems.length > 0) {
    throw new BackupError(
      'PLAN_INVALID',
      `The plan has ${problems.length} bad option${problems.length > 1 ? 's' : ''}: ${problems.join('; ')}.`,
      {
        details: problems,
      },
    )
  }
  return Object.freeze({
    name: options.name,
    adapter: options.adapter,
    destinations: Object.freeze(destinations),
    compression: Object.freeze(toCompression(options.compression)),
    retention: options.retention ?? defaultRetention,
    strictKinds: options.strictKinds ?? false,
    notifiers: Object.freeze([...(options.notifiers ?? [])]),
    verifiers: Object.freeze([...(options.verifiers ?? [])]),
    lockWaitMs: options.lockWaitMs ?? 2_000,
    runtime: Object.freeze({
      now: options.runtime?.now ?? (() => new Date()),
      randomId: options.runtime?.randomId ?? randomId,
      spawn: options.runtime?.spawn ?? spawn,
      temporaryDirectory: options.temporaryDirectory ?? tmpdir(),
    }),
  })
}

function toDestination(input: BackupPlanOptions['destinations'][number], index: number): Destination {
  const fallback = `destination-${index + 1}`
  return Object.freeze(
    'storage' in input
      ? { name: input.name ?? fallback, storage: input.storage, required: input.required ?? true }
      : { name: fallback, storage: input, required: true },
  )
}

function toCompression(input: BackupPlanOptions['compression'] = 'zstd'): Compression {
  const { algorithm, level } = typeof input === 'string' ? { algorithm: input, level: undefined } : input
  return { algorithm, level: level ?? DEFAULT_LEVEL[algorithm] }
}

function randomId(length: number): string {
  return Array.from({ length }, () => randomInt(36).toString(36)).join('')
}
