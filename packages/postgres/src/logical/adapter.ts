import type { BackupAdapter } from '@taskflow-backup/core'
import { resolveConnection } from '../connection.ts'
import { inspectMember } from '../inspect-member.ts'
import type { CheckedOptions } from '../options.ts'
import { comparePositions } from '../position.ts'
import { backupLogical, describeSource } from './backup.ts'
import { inspectDump } from './inspect/inspect.ts'
import { removeLeftovers } from './leftovers.ts'
import { stageRestore } from './restore.ts'
import { readSelection } from './source.ts'
import { ENGINE, undoSwap } from './swap.ts'

/** Dumps of one database with `pg_dump`. */
export function logicalAdapter(options: CheckedOptions): BackupAdapter {
  readSelection(options.logical) // refuses bad names at once
  // Databases that could not be dropped, because the server was gone: they carry the mark of a process that still runs.
  const undiscarded = new Set<string>()
  return {
    engine: ENGINE,
    kinds: ['full'],
    pointInTime: false,
    describe: (ctx) => describeSource(options, ctx),
    backup: (request, ctx) => backupLogical(options, request, ctx),
    restore: (request, ctx) => stageRestore(options, request, undiscarded, ctx),
    undo: async (record, ctx) => undoSwap(await resolveConnection(options.connection), record, ctx),
    inspect: (member, ctx) => inspectMember(member, 'inspectDump', inspectDump, ctx),
    comparePositions,
    removeLeftovers: (ctx) => removeLeftovers(options, undiscarded, ctx),
  }
}
