import type { Compression, SentFacts } from '@taskflow-backup/core'
import { encodeIndex, type Step } from '../changes/format.ts'
import { gapsOf, type LogOutline, resolutionOf } from '../changes/log-facts.ts'
import { pagesIn } from './change-store.ts'
import { writeCompressed } from './write-file.ts'

/** What a backup of the captured steps tells. Times in milliseconds since 1970. */
export interface CapturedLog extends LogOutline {
  readonly consistentAt: number
  readonly how: readonly Step['how'][]
}

/** What a backup of `steps` tells; there is at least one. */
export function logOf(steps: readonly Step[]): CapturedLog {
  const [first, last] = [steps[0] as Step, steps.at(-1) as Step]
  const after = first.since ?? first.capturedAt
  return {
    consistentAt: last.capturedAt,
    firstCommit: first.firstCommit,
    lastCommit: last.lastCommit,
    before: first.before,
    state: last.after,
    steps: steps.length,
    pages: pagesIn(steps),
    how: [...new Set(steps.map(({ how }) => how))],
    resolutionMs: resolutionOf(steps, after),
    gaps: gapsOf(steps, after),
  }
}

/** The step of a log in which nothing was committed; `state` is that after `lastCommit`. */
export function emptyStep({
  state,
  lastCommit,
  ...told
}: Pick<Step, 'capturedAt' | 'how' | 'reason' | 'lastCommit' | 'mark'> & { readonly state: string }): Step {
  return {
    ...told,
    lookedAt: told.capturedAt,
    before: state,
    after: state,
    firstCommit: lastCommit + 1,
    lastCommit,
    commits: [],
  }
}

/** Writes the member of such a log. @throws `TARGET_INVALID` */
export function writeEmptyLog(
  path: string,
  compression: Compression,
  step: Step,
  pageSize: number,
): Promise<SentFacts> {
  const index = encodeIndex({ pageSize, steps: [step], pages: new Uint32Array(0), hashes: new Uint8Array(0) })
  return writeCompressed(path, inOnePiece(index), compression)
}

async function* inOnePiece(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
