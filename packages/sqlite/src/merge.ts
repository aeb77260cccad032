import { join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  type BackupFacts,
  type BackupRequest,
  type Manifest,
  type Member,
  type OpenBackup,
} from '@taskflow-backup/core'
import { gapsField } from './backup-log.ts'
import { startJob } from './child-process.ts'
import { handOn } from './hand-on.ts'
import { memberFromFile, withJobFolder } from './member-from-file.ts'
import { CHANGES_SUFFIX } from './members.ts'
import { memberOf } from './rebuild.ts'

/** Makes one log of several: one member, like that of any log. */
export function mergeLogs(
  logs: readonly OpenBackup[],
  { compression, fileStem, resolutionMs }: BackupRequest & { readonly resolutionMs?: number },
  ctx: AdapterContext,
): AsyncGenerator<Member, BackupFacts, void> {
  const [first, last] = [logs[0]?.manifest, logs.at(-1)?.manifest]
  if (!first || !last) throw new BackupError('CONTRACT_BROKEN', 'There must be a log to merge.')
  return withJobFolder(ctx, async function* (folder) {
    const file = join(folder, 'merged')
    const stored = logs.map((backup) => ({ backup, member: memberOf(backup.manifest, CHANGES_SUFFIX) }))
    const job = startJob(
      'merge',
      {
        logs: stored.map(({ member }) => member),
        ...(resolutionMs !== undefined && { resolutionMs }),
        after: beginOf(first),
        file,
        temporaryDirectory: folder,
        compression,
      },
      ctx,
    )
    const { plain, stored: compressed, gaps, ...facts } = await handOn(stored, job)
    yield memberFromFile(fileStem + CHANGES_SUFFIX, file, compression, { plain, stored: compressed })
    const { resolutionMs: distance, ...details } = facts
    return {
      consistentAt: new Date(last.consistentAt),
      position: { ...(first.position.begin !== undefined && { begin: first.position.begin }), end: last.position.end },
      source: { ...last.source, details: { ...last.source.details, ...details } },
      method: 'merged',
      notes: [`Made of ${logs.length} log backups, ${first.id} to ${last.id}.`],
      // Without what is before it, the first log itself knows best how far its first moment is from there.
      resolutionMs: Math.max(distance, first.resolutionMs ?? 0),
      ...gapsField(gaps),
    }
  })
}

/** When the state was that the first log continues, as far as its own facts tell. */
const beginOf = ({ gaps, startedAt }: Manifest): number => Date.parse(gaps?.[0]?.after ?? startedAt)
