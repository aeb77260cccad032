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
import { runJob } from './child-process.ts'
import { memberFromFile, withJobFolder } from './member-from-file.ts'
import { CHANGES_SUFFIX } from './members.ts'
import type { CheckedOptions } from './options.ts'

/** Makes a differential backup: the pages that differ from those of the chain's full. */
export async function* backupDifferential(
  options: CheckedOptions,
  { base, fileStem, compression }: BackupRequest,
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  if (!base) throw new BackupError('CONTRACT_BROKEN', 'A differential backup needs a base.')
  return yield* withJobFolder(ctx, async function* (folder) {
    const output = join(folder, 'changes')
    const settings = sourceSettings(options, ctx.temporaryDirectory)
    const input = await writeBase(base, 'differential', folder, ctx)
    const made = await runJob(
      'differential',
      { ...settings, base: input, output, compression, skewMs: skewOf(ctx) },
      ctx,
    )
    yield memberFromFile(fileStem + CHANGES_SUFFIX, output, compression, made)
    const { database, step, pages, notes } = made
    const nothing = step.before === step.after
    return {
      consistentAt: new Date(step.capturedAt),
      // What it really holds is between the newest log and now; only that much is sure.
      position: { begin: base.full.manifest.position.end, end: (base.newestLog ?? base.full.manifest).position.end },
      source: toSourceFacts(options.file, database, { state: step.after, before: step.before, pages }),
      method: 'page-comparison',
      notes: nothing ? [...notes, 'Nothing changed since the full.'] : notes,
    }
  })
}
