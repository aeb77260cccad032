import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type {
  AdapterContext,
  BackupBase,
  BackupFacts,
  BackupRequest,
  FollowSettings,
  LogSource,
  LogSourceStatus,
  Manifest,
  Member,
  RunningJob,
} from '@taskflow-backup/core'
import { skewOf, sourceSettings } from './backup.ts'
import { logFacts } from './backup-log.ts'
import { writeBase } from './base-state.ts'
import { startJob } from './child-process.ts'
import type { FollowReplies, FollowRequest, Jobs } from './jobs.ts'
import { makeJobFolder, memberFromFile } from './member-from-file.ts'
import { CHANGES_SUFFIX } from './members.ts'
import type { CheckedOptions } from './options.ts'

/** Starts the child process that follows the log; resolves when it has captured for the first time. */
export async function followLog(
  options: CheckedOptions,
  base: BackupBase,
  { everyMs }: FollowSettings,
  ctx: AdapterContext,
): Promise<LogSource> {
  const folder = await makeJobFolder(ctx)
  const removeFolder = (): Promise<void> => rm(folder, { recursive: true, force: true })
  let job: RunningJob<Jobs['follow']['result']> | undefined
  try {
    const input = { ...sourceSettings(options, ctx.temporaryDirectory), skewMs: skewOf(ctx), everyMs }
    // Kept waiting behind a busy app, it would let the write-ahead log grow.
    const settings = { background: false }
    job = startJob('follow', { ...input, base: await writeBase(base, 'log', folder, ctx) }, ctx, settings)
    await job.ask({ ask: 'status' } satisfies FollowRequest)
    await rm(join(folder, 'base'), { force: true })
    return new Following(options, job, folder, ctx)
  } catch (error) {
    job?.kill()
    await job?.result.catch(() => {})
    await removeFolder()
    throw error
  }
}

class Following implements LogSource {
  readonly ended: Promise<void>
  readonly #options: CheckedOptions
  readonly #job: RunningJob<unknown>
  readonly #folder: string
  readonly #ctx: AdapterContext
  #written = 0
  #isClosed = false

  constructor(options: CheckedOptions, job: RunningJob<unknown>, folder: string, ctx: AdapterContext) {
    this.#options = options
    this.#job = job
    this.#folder = folder
    this.#ctx = ctx
    this.ended = this.#end()
    this.ended.catch(() => {}) // thrown where it is awaited
  }

  async #end(): Promise<void> {
    try {
      await this.#job.result
    } catch (error) {
      if (!this.#isClosed) throw error
    } finally {
      await rm(this.#folder, { recursive: true, force: true })
    }
  }

  #ask<Name extends keyof FollowReplies>(
    request: FollowRequest & { readonly ask: Name },
  ): Promise<FollowReplies[Name]> {
    return this.#job.ask(request) as Promise<FollowReplies[Name]>
  }

  pending(waitMs: number): Promise<boolean> {
    return this.#ask({ ask: 'pending', waitMs })
  }

  async *backup(
    request: BackupRequest,
    _ctx: AdapterContext,
    until?: Manifest,
  ): AsyncGenerator<Member, BackupFacts, void> {
    const { compression, fileStem } = request
    const output = join(this.#folder, `changes-${++this.#written}`)
    try {
      const made = await this.#ask({ ask: 'write', output, compression, ...(until && { until: untilOf(until) }) })
      yield memberFromFile(fileStem + CHANGES_SUFFIX, output, compression, made)
      return logFacts(this.#options.file, request, made)
    } finally {
      await rm(output, { force: true })
    }
  }

  async committed(): Promise<void> {
    await this.#ask({ ask: 'committed' })
  }

  async continueFrom(base: BackupBase): Promise<void> {
    const folder = await makeJobFolder(this.#ctx)
    try {
      await this.#ask({ ask: 'continueFrom', base: await writeBase(base, 'log', folder, this.#ctx) })
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  status(): Promise<LogSourceStatus> {
    return this.#ask({ ask: 'status' })
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#job.kill()
    await this.ended.catch(() => {})
  }
}

function untilOf({ source, consistentAt }: Manifest): { state?: string; consistentAt: number } {
  const state = source.details?.state
  return { ...(typeof state === 'string' && { state }), consistentAt: Date.parse(consistentAt) }
}
