import { join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Member,
} from '@taskflow-backup/core'
import { skewOf, sourceSettings, toSourceFacts } from './backup.ts'
import { writeBase } from './base-state.ts'
import type { StepGap } from './changes/log-facts.ts'
import { runJob } from './child-process.ts'
import type { LogFacts } from './jobs.ts'
import { memberFromFile, withJobFolder } from './member-from-file.ts'
import { CHANGES_SUFFIX } from './members.ts'
import type { CheckedOptions } from './options.ts'
import { positionOf } from './position.ts'

/** Makes one log backup: everything that was committed since the last one. */
export async function* backupLog(
  options: CheckedOptions,
  request: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const { base, compression, fileStem } = request
  if (!base) throw new BackupError('CONTRACT_BROKEN', 'A log backup needs a base.')
  return yield* withJobFolder(ctx, async function* (folder) {
    const output = join(folder, 'changes')
    const settings = sourceSettings(options, ctx.temporaryDirectory)
    const input = { ...settings, base: await writeBase(base, 'log', folder, ctx), skewMs: skewOf(ctx) }
    const made = await runJob('log', { ...input, output, compression }, ctx)
    yield memberFromFile(fileStem + CHANGES_SUFFIX, output, compression, made)
    return logFacts(options.file, request, made)
  })
}

/** What a manifest tells of a log. */
export function logFacts(
  file: string,
  { id, base }: Pick<BackupRequest, 'id' | 'base'>,
  { database, log, notes }: LogFacts,
): BackupFacts {
  const { consistentAt, how, gaps, resolutionMs, ...details } = log
  const begin = (base?.newestLog ?? base?.full.manifest)?.position.end
  const nothing = log.lastCommit < log.firstCommit
  return {
    consistentAt: new Date(consistentAt),
    position: { ...(begin !== undefined && { begin }), end: positionOf(id, log.lastCommit) },
    source: toSourceFacts(file, database, details),
    method: [how.includes('log') && 'wal-frames', how.includes('comparison') && 'page-comparison']
      .filter((one) => one !== false)
      .join('+'),
    notes: nothing ? [...notes, 'Nothing was committed since the last backup.'] : notes,
    resolutionMs,
    ...gapsField(gaps),
  }
}

/** Gaps as a manifest tells them; without any it has no such field. */
export function gapsField(gaps: readonly StepGap[]): Pick<BackupFacts, 'gaps'> {
  const iso = (ms: number): string => new Date(ms).toISOString()
  return gaps.length === 0
    ? {}
    : { gaps: gaps.map(({ after, until, reason }) => ({ after: iso(after), until: iso(until), reason })) }
}
