import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type AdapterContext, type RunningJob, startJob as startChildJob } from '@taskflow-backup/core'
import type { JobName, Jobs } from './jobs.ts'

/** Starts one job in a child process of its own, which is killed when `ctx.signal` is aborted. */
export function startJob<N extends JobName>(
  name: N,
  input: Jobs[N]['input'],
  ctx: AdapterContext,
): RunningJob<Jobs[N]['result']> {
  // Beside this file: TypeScript from the sources, JavaScript from the built package.
  const here = fileURLToPath(import.meta.url)
  return startChildJob<Jobs, N>(join(dirname(here), 'child', `main${extname(here)}`), name, input, ctx)
}
