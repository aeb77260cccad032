import { type BackupAdapter, BackupError } from '@taskflow-backup/core'
import { resolveConnection } from '../connection.ts'
import { inspectMember } from '../inspect-member.ts'
import type { CheckedOptions } from '../options.ts'
import { comparePositions } from '../position.ts'
import { backupDifferential, backupFull } from './base-backup.ts'
import { backupLog, followsLog } from './log-backup.ts'
import { removeLeftovers, stageRestore, undoRestore } from './restore.ts'
import { scanMember } from './scan-member.ts'
import { readSource, toSourceFacts } from './server-facts.ts'

/** Copies of a whole cluster over the replication protocol. */
export function physicalAdapter(options: CheckedOptions): BackupAdapter {
  const withLog = options.physical.slot !== undefined
  return {
    engine: 'postgres',
    kinds: withLog ? ['full', 'differential', 'log'] : ['full', 'differential'],
    pointInTime: withLog,
    describe: async (ctx) =>
      toSourceFacts(await readSource(await resolveConnection(options.connection), options, true, ctx.signal)),
    backup(request, ctx) {
      if (request.kind === 'full') return backupFull(options, request, ctx)
      if (request.kind === 'differential') return backupDifferential(options, request, ctx)
      if (withLog) return backupLog(options, request, ctx)
      throw new BackupError('KIND_UNSUPPORTED', 'Log backups need physical.slot, the name of a replication slot.')
    },
    restore: (request, ctx) => stageRestore(options, request, ctx),
    undo: (record, ctx) => undoRestore(options, record, ctx),
    inspect: (member, ctx) => inspectMember(member, 'scanMember', scanMember, ctx),
    comparePositions,
    follows: followsLog,
    removeLeftovers: (ctx) => removeLeftovers(options, ctx),
  }
}
