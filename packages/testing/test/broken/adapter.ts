import { Readable } from 'node:stream'
import {
  type BackupAdapter,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Member,
  type StagedRestore,
} from '@taskflow-backup/core'
import type { AdapterInstance } from '../../src/index.ts'
import { emptyMember } from './empty-member.ts'

/** Changes some methods of a good adapter. */
export type Broken = (inner: BackupAdapter, instance: AdapterInstance) => Partial<BackupAdapter>

/** Changes the staged restore that an adapter gives. */
export const staging =
  (
    change: (staged: StagedRestore, request: Parameters<BackupAdapter['restore']>[0]) => Partial<StagedRestore>,
  ): Broken =>
  (inner) => ({
    async restore(request, ctx) {
      const staged = await inner.restore(request, ctx)
      return { ...staged, ...change(staged, request) }
    },
  })

/** Changes the members that an adapter gives, and the request that it is given. */
export const members =
  (
    change: (all: Member[]) => Member[],
    ask: (request: BackupRequest) => BackupRequest = (request) => request,
  ): Broken =>
  (inner) => ({
    async *backup(request, ctx) {
      const source = inner.backup(ask(request), ctx)
      const all: Member[] = []
      for (;;) {
        const step = await source.next()
        if (step.done) {
          yield* change(all)
          return step.value
        }
        all.push(step.value)
      }
    },
  })

/** Changes the facts that an adapter gives at the end of a backup. */
export const facts =
  (change: (found: BackupFacts, request: BackupRequest) => object): Broken =>
  (inner) => ({
    async *backup(request, ctx) {
      const found = yield* inner.backup(request, ctx)
      return { ...found, ...change(found, request) }
    },
  })

export const withBody = (member: Member, body: () => AsyncGenerator<Uint8Array>): Member => ({
  ...member,
  body: Readable.from(body(), { objectMode: false }),
})
export const timers: NodeJS.Timeout[] = []

/** What is wrong, the cases that must notice, and how it is done. */
export type BrokenAdapter = readonly [fault: string, cases: readonly RegExp[], broken: Broken]

export function refuseEmpty(kind: BackupRequest['kind']): Broken {
  return (inner) => ({
    async *backup(request, ctx) {
      const found = yield* inner.backup(request, ctx)
      if (request.kind === kind && found.position.begin === found.position.end)
        throw new BackupError('SOURCE_UNREADABLE', 'nothing to do')
      return found
    },
  })
}

export async function* lastLineOnly(source: ReturnType<BackupAdapter['backup']>): ReturnType<BackupAdapter['backup']> {
  for (;;) {
    const step = await source.next()
    if (step.done) return step.value
    step.value.body.destroy()
    yield emptyMember(step.value.name)
  }
}

export async function* emptyLog(
  inner: BackupAdapter,
  request: BackupRequest,
  ctx: Parameters<BackupAdapter['backup']>[1],
): ReturnType<BackupAdapter['backup']> {
  yield emptyMember(`${request.fileStem}.part-1.jsonl`)
  const { base: _, ...full } = request
  const source = inner.backup({ ...full, kind: 'full' }, ctx)
  for (;;) {
    const step = await source.next()
    if (step.done)
      return {
        ...step.value,
        position: { begin: request.base?.previous.manifest.position.end as string, end: step.value.position.end },
      }
    step.value.body.destroy()
  }
}

export async function timelineOf(
  inner: BackupAdapter,
  { base: _, ...request }: BackupRequest,
  ctx: Parameters<BackupAdapter['backup']>[1],
): Promise<string | undefined> {
  const source = inner.backup({ ...request, kind: 'full' }, ctx)
  for (;;) {
    const step = await source.next()
    if (step.done) return step.value.position.end.split('.')[0]
    step.value.body.destroy()
  }
}
