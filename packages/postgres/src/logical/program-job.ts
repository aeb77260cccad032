import type { Duplex } from 'node:stream'
import { type AdapterContext, throwIfAborted } from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import type { LogicalJobs } from './jobs.ts'

/** How long the child may take to end its program before it is killed itself. */
const GRACE_MS = 5_000

export interface ProgramJob<Result> {
  readonly channel: Duplex
  readonly result: Promise<Result>
  /** Lets the child end its program, and waits for that. */
  stop(): Promise<void>
}

/**
 * Starts a job that runs one of PostgreSQL's programs. When it is to end early, the channel is closed, which the child
 * answers by ending the program. Killing the child at once would leave the program behind.
 */
export function startProgramJob<N extends 'dump' | 'runProgram' | 'packFolder'>(
  name: N,
  input: LogicalJobs[N]['input'],
  ctx: AdapterContext,
): ProgramJob<LogicalJobs[N]['result']> {
  throwIfAborted(ctx.signal)
  const job = startJob(name, input, { ...ctx, signal: new AbortController().signal })
  const letGo = (): void => {
    job.channel.destroy()
    setTimeout(job.kill, GRACE_MS).unref()
  }
  ctx.signal.addEventListener('abort', letGo, { once: true })
  const result = job.result
    .catch((error: unknown) => {
      throwIfAborted(ctx.signal)
      throw error
    })
    .finally(() => ctx.signal.removeEventListener('abort', letGo)) as Promise<LogicalJobs[N]['result']>
  result.catch(() => {}) // thrown where it is awaited
  const stop = async (): Promise<void> => {
    letGo()
    await result.catch(() => {})
  }
  return { channel: job.channel, result, stop }
}
