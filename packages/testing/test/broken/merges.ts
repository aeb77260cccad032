import type { BackupAdapter, OpenBackup } from '@taskflow-backup/core'
import type { Broken, BrokenAdapter } from './adapter.ts'
import { emptyMember } from './empty-member.ts'

type Merge = NonNullable<BackupAdapter['merge']>

/** Changes what a good adapter merges, or with which resolution. */
const merging =
  (change: (...given: Parameters<Merge>) => Parameters<Merge>): Broken =>
  (inner) => ({ merge: (...given) => (inner.merge as Merge)(...change(...given)) })

const isMerged = ({ manifest }: OpenBackup): boolean => manifest.method === 'merged'

/** Adapters that break a promise about merged logs. */
export const brokenMerges: readonly BrokenAdapter[] = [
  [
    'loses everything when it merges',
    [/merged log restores what/, /merged log restores to the moments/, /merged again/, /thinned log/],
    (inner) => ({
      async *merge(...given) {
        const source = (inner.merge as Merge)(...given)
        for (;;) {
          const step = await source.next()
          if (step.done) return step.value
          step.value.body.destroy()
          yield emptyMember(step.value.name)
        }
      },
    }),
  ],
  [
    'merges the logs but the last',
    [/merged log restores what/],
    (inner) => ({
      async *merge(logs, request, ctx) {
        const facts = yield* (inner.merge as Merge)(logs.slice(0, -1), request, ctx)
        const last = logs.at(-1)?.manifest
        if (!last) return facts
        const position = { ...facts.position, end: last.position.end }
        return { ...facts, consistentAt: new Date(last.consistentAt), position }
      },
    }),
  ],
  [
    'cannot merge what it merged',
    [/merged again/],
    merging((logs, request, ctx) => [logs.some(isMerged) ? [] : logs, request, ctx]),
  ],
  [
    'takes moments out that should stay',
    [/merged log restores to the moments/],
    merging((logs, request, ctx) => [logs, { ...request, resolutionMs: 1e13 }, ctx]),
  ],
  [
    'takes no moments out',
    [/thinned log/],
    merging((logs, { resolutionMs: _, ...request }, ctx) => [logs, request, ctx]),
  ],
]
