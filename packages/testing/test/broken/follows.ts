import type { BackupAdapter, LogSource } from '@taskflow-backup/core'
import { type Broken, type BrokenAdapter, timers } from './adapter.ts'
import { emptyMember } from './empty-member.ts'

/** Changes the source of a good adapter. */
const following =
  (change: (source: LogSource, inner: BackupAdapter) => Partial<LogSource>): Broken =>
  (inner) => ({
    async follow(base, settings, ctx) {
      const source = (await inner.follow?.(base, settings, ctx)) as LogSource
      return { ...source, ...change(source, inner) }
    },
  })

/** Adapters that break a promise about following the log. */
export const brokenFollows: readonly BrokenAdapter[] = [
  [
    'follows and sees nothing',
    [/committed while the log is followed/],
    following(() => ({ pending: async () => false })),
  ],
  [
    'stores logs without content while it follows',
    [/committed while the log is followed/, /stop leaves nothing/],
    following((source) => ({
      async *backup(request, ctx, until) {
        const inner = source.backup(request, ctx, until)
        for (;;) {
          const step = await inner.next()
          if (step.done) return step.value
          step.value.body.destroy()
          yield emptyMember(step.value.name)
        }
      },
    })),
  ],
  [
    'gives the old chain what belongs to the new one',
    [/takes the log over/],
    following((source) => ({ backup: (request, ctx) => source.backup(request, ctx) })),
  ],
  [
    'begins at the present when it is begun anew',
    [/killed is begun anew/],
    (inner) => {
      let begun = false
      return {
        async follow(base, settings, ctx) {
          const source = (await inner.follow?.(base, settings, ctx)) as LogSource
          if (begun) {
            const { timeline, sequence } = { timeline: 1, sequence: (await source.status()).logBytes }
            await source.committed({ position: { end: `${timeline}.${sequence}` } } as never)
          }
          begun = true
          return source
        },
      }
    },
  ],
  [
    'leaves timers when it is stopped',
    [/stop leaves nothing/],
    following((source) => ({
      async close() {
        await source.close()
        // More than the test runner has that end by themselves.
        for (let count = 0; count < 5; count++) timers.push(setInterval(() => {}, 1_000))
      },
    })),
  ],
  [
    'takes for committed what it gave',
    [/stored afterwards/],
    following((source) => ({
      async *backup(request, ctx, until) {
        const facts = yield* source.backup(request, ctx, until)
        await source.committed({ position: facts.position } as never)
        return facts
      },
    })),
  ],
]
