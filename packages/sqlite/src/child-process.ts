import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type AdapterContext,
  type JobSettings,
  type RunningJob,
  startJob as startChildJob,
} from '@taskflow-backup/core'
import type { JobName, Jobs } from './jobs.ts'

/** Starts one job in a child process of its own, which is killed when `ctx.signal` is aborted. */
export function startJob<N extends JobName>(
  name: N,
  input: Jobs[N]['input'],
  ctx: AdapterContext,
  settings?: JobSettings,
): RunningJob<Jobs[N]['result']> {
  return startChildJob<Jobs, N>(childFile(), name, input, ctx, settings)
}

/** Runs a job that neither sends nor takes bytes. */
export async function runJob<N extends JobName>(
  name: N,
  input: Jobs[N]['input'],
  ctx: AdapterContext,
): Promise<Jobs[N]['result']> {
  return startJob(name, input, ctx).result
}

/** Beside this file: TypeScript from the sources, JavaScript from the built package. */
function childFile(): string {
  const here = fileURLToPath(import.meta.url)
  return join(dirname(here), 'child', `main${extname(here)}`)
}
