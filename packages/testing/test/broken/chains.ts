import { BackupError } from '@taskflow-backup/core'
import { type BrokenAdapter, emptyLog, facts, lastLineOnly, refuseEmpty, timelineOf } from './adapter.ts'

/** Adapters that break a promise about chains. */
export const brokenChains: readonly BrokenAdapter[] = [
  [
    'makes a full whatever is asked',
    [/every kind of the adapter/],
    (inner) => ({
      backup: (request) => {
        if (request.kind !== 'full') throw new BackupError('BASE_UNUSABLE', 'no')
        return inner.backup(request, {} as never)
      },
    }),
  ],
  [
    'makes empty differentials',
    [/every backup of a chain/, /against the full/],
    (inner) => ({
      backup: (request, ctx) => {
        const full = request.base?.full
        if (request.kind !== 'differential' || !full) return inner.backup(request, ctx)
        return lastLineOnly(inner.backup(request, ctx))
      },
    }),
  ],
  [
    'builds a differential on the last one',
    [/against the full/],
    (inner) => {
      let last: string | undefined
      return {
        async *backup(request, ctx) {
          const { base } = request
          const move = request.kind === 'differential' && base && last
          const manifest = move && { ...base.full.manifest, position: { end: last as string } }
          const full = manifest ? { ...base.full, manifest } : base?.full
          const found = yield* inner.backup(full && base ? { ...request, base: { ...base, full } } : request, ctx)
          if (request.kind === 'differential') last = found.position.end
          return found
        },
      }
    },
  ],
  ['cannot make an empty differential', [/differential of no change/], refuseEmpty('differential')],
  ['cannot make an empty log', [/log of no change/], refuseEmpty('log')],
  [
    'leaves a gap between logs',
    [/follow on one another/],
    facts(({ position }, { kind }) =>
      kind === 'log' ? { position: { begin: `${position.end}9`, end: `${position.end}99` } } : {},
    ),
  ],
  [
    'hides a gap between logs',
    [/log after a missing one/],
    (inner) => ({
      ...facts(({ position }, { kind }) => (kind === 'log' ? { position: { begin: '1.0', end: position.end } } : {}))(
        inner,
        {} as never,
      ),
      restore: (request, ctx) =>
        inner.restore({ ...request, backups: request.backups.filter(({ manifest }) => manifest.kind === 'full') }, ctx),
    }),
  ],
  [
    'makes a log with a gap',
    [/cannot continue its chain/, /log after a restore/],
    (inner) => ({
      backup: (request, ctx) => (request.kind === 'log' ? emptyLog(inner, request, ctx) : inner.backup(request, ctx)),
    }),
  ],
  [
    'mixes two histories',
    [/differential after a restore/, /log after a restore/],
    (inner) => ({
      async *backup(request, ctx) {
        const { base } = request
        const here = (await timelineOf(inner, request, ctx)) as string
        const moved = ({ manifest, ...open }: NonNullable<typeof base>['full']) => {
          const end = `${here}.${manifest.position.end.split('.')[1]}`
          return { ...open, manifest: { ...manifest, position: { ...manifest.position, end } } }
        }
        const found = yield* inner.backup(
          base ? { ...request, base: { ...base, full: moved(base.full), previous: moved(base.previous) } } : request,
          ctx,
        )
        return { ...found, position: { ...found.position, end: `1.${found.position.end.split('.')[1]}` } }
      },
    }),
  ],
  [
    'ignores the moment',
    [/restore to a moment/],
    (inner) => ({ restore: ({ at: _, ...request }, ctx) => inner.restore(request, ctx) }),
  ],
  [
    'damages what it verifies',
    [/passes verification at level stored/, /passes verification at level decoded/, /level restored/],
    (_inner, instance) => ({
      comparePositions: () => 0,
      backup: (request, ctx) => {
        void instance.mutate()
        return _inner.backup(request, ctx)
      },
    }),
  ],
]
