import { Readable } from 'node:stream'
import { BackupError } from '@taskflow-backup/core'
import { type BrokenAdapter, facts, members, staging, timers, withBody } from './adapter.ts'

/** Adapters that break a promise about single backups and restores. */
export const brokenRestores: readonly BrokenAdapter[] = [
  [
    'ends a body cleanly on a failing source',
    [/failing source never/],
    members((all) =>
      all.map((member) =>
        withBody(member, async function* () {
          try {
            for await (const piece of member.body) yield piece
          } catch {}
        }),
      ),
    ),
  ],
  [
    'loses the last member',
    [
      /full backup restored to a new place/,
      /old backup restores/,
      /every backup of a chain/,
      /passes verification at level restored/,
    ],
    members((all) => all.slice(0, -1)),
  ],
  [
    'restores over the live database before the check',
    [/failed check leaves the live database untouched/],
    staging((staged, { target }) => {
      if (target.kind !== 'live') return {}
      const promoted = staged.promote({} as never)
      return { promote: () => promoted }
    }),
  ],
  [
    'ignores the target',
    [/leaves the live database alone/, /restored to a new place/],
    (inner) => ({ restore: (request, ctx) => inner.restore({ ...request, target: { kind: 'live' } }, ctx) }),
  ],
  ['undoes nothing', [/can be undone/, /leads nowhere/], () => ({ undo: async (record) => record })],
  [
    'gives a record that brings back nothing',
    [/can be undone/, /existing place/],
    staging((staged) => ({
      promote: async (ctx) => {
        const { kept: _, ...record } = await staged.promote(ctx)
        return record
      },
    })),
  ],
  [
    'ignores an abort while backing up',
    [/aborted already does not end cleanly/],
    (inner) => ({ backup: (request, ctx) => inner.backup(request, { ...ctx, signal: new AbortController().signal }) }),
  ],
  [
    'begins although it is aborted, and leaves something',
    [/backup that is aborted already/],
    (_inner, instance) => ({
      backup: async function* () {
        Object.assign(instance, { leftovers: async () => ['junk'] })
        yield { name: 'x', body: Readable.from(['x']) }
        throw new BackupError('ABORTED', 'late')
      },
    }),
  ],
  [
    'leaves a temporary file after an abort',
    [/abort in the middle of a backup/],
    (inner, instance) => ({
      async *backup(request, ctx) {
        Object.assign(instance, { leftovers: async () => ['dump.tmp'] })
        const found = yield* inner.backup(request, ctx)
        Object.assign(instance, { leftovers: async () => [] })
        return found
      },
    }),
  ],
  [
    'leaves a half-built database',
    [/abort in the middle of a restore/, /members break off/],
    (inner, instance) => ({
      restore: (request, ctx) =>
        inner.restore(request, ctx).catch((error: unknown) => {
          Object.assign(instance, { leftovers: async () => ['half.db'] })
          throw error
        }),
    }),
  ],
  [
    'always says that a member is good',
    [/begin is overwritten/, /cut short/],
    () => ({
      inspect: async ({ body }) => {
        for await (const _ of body);
        return []
      },
    }),
  ],
  [
    'never says that a member is good',
    [/no fault with a whole/, /passes verification at level decoded/],
    () => ({
      inspect: async ({ body }) => {
        body.destroy()
        return [{ check: 'x', severity: 'error', message: 'no' }]
      },
    }),
  ],
  ['leaves an inspected body open', [/reads a body to its end/], () => ({ inspect: async () => [] })],
  ['compares every position as equal', [/positions are ordered/], () => ({ comparePositions: () => 0 })],
  [
    'compares positions as texts',
    [/positions are ordered/],
    () => ({ comparePositions: (a, b) => (a < b ? 1 : a > b ? -1 : 0) }),
  ],
  ['does not discard', [/discard removes/, /nothing at the place/], staging(() => ({ discard: async () => {} }))],
  [
    'overwrites unasked',
    [/existing place is refused/],
    (inner) => ({
      restore: (request, ctx) =>
        inner.restore(
          {
            ...request,
            target: request.target.kind === 'place' ? { ...request.target, overwrite: true } : request.target,
          },
          ctx,
        ),
    }),
  ],
  [
    'does not check what it restored',
    [/damaged database/],
    (inner, instance) => ({
      ...staging(() => ({ check: async () => [] }))(inner, instance),
      inspect: async ({ body }) => {
        for await (const _ of body);
        return []
      },
    }),
  ],
  [
    'ignores an abort while restoring',
    [/restore that is aborted already/],
    (inner) => ({
      restore: (request, ctx) => inner.restore(request, { ...ctx, signal: new AbortController().signal }),
    }),
  ],
  [
    'says nothing about its source',
    [/describe answers/],
    () => ({ describe: async () => ({ name: '', engineVersion: '' }) }),
  ],
  [
    'names its members badly',
    [/member names/],
    members((all) => all.map((member) => ({ ...member, name: `../${member.name}` }))),
  ],
  [
    'gives two members one name',
    [/member names/],
    members((all) => all.map((member) => ({ ...member, name: 'one.jsonl' }))),
  ],
  ['tells a secret', [/no secret/], facts(() => ({ notes: ['connected with hunter2'] }))],
  ['restores what another engine made', [/another engine/], () => ({ engine: 'another-engine' })],
  [
    'keeps a timer',
    [/event loop/],
    (inner) => ({
      restore: (request, ctx) => {
        timers.push(setInterval(() => {}, 1000))
        return inner.restore(request, ctx)
      },
    }),
  ],
]
