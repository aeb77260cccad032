import type { BackupAdapter } from '@taskflow-backup/core'
import { backupDatabase } from './backup.ts'
import { follows } from './base.ts'
import { ENGINE } from './engine-name.ts'
import { inspectMember } from './inspect.ts'
import { comparePositions } from './lsn.ts'
import { checkOptions, type MssqlOptions } from './options.ts'
import { removeLeftovers } from './restore/leftovers.ts'
import { stageRestore } from './restore/restore.ts'
import { undoRestore } from './restore/undo.ts'
import { describeSource } from './source.ts'
import { forgetBackup } from './transfer/forget.ts'

/**
 * Backs up and restores one database of a Microsoft SQL Server, 2016 or later, with the server's own BACKUP and RESTORE.
 *
 * @throws `OPTIONS_INVALID` naming every bad option
 *
 * @example
 * ```ts no-run
 * // Needs a SQL Server, and a folder that it shares with this process.
 * import { createBackup, defineBackupPlan, directory } from '@taskflow-backup/core'
 * import { mssql } from '@taskflow-backup/mssql'
 *
 * const plan = defineBackupPlan({
 *   name: 'tasks',
 *   adapter: mssql({
 *     connection: { server: 'localhost', user: 'backup', password: process.env.MSSQL_PASSWORD ?? '' },
 *     database: 'TaskManagement',
 *     transfer: { type: 'shared-folder', serverDirectory: '/backup', localDirectory: '/mnt/backup' },
 *   }),
 *   destinations: [directory('/var/backups/tasks')],
 * })
 * await createBackup(plan, { kind: 'full' })
 * ```
 */
export function mssql(options: MssqlOptions): BackupAdapter {
  const checked = checkOptions(options)
  return {
    engine: ENGINE,
    kinds: ['full', 'differential', 'log'],
    pointInTime: true,
    describe: (ctx) => describeSource(checked, ctx),
    backup: (request, ctx) => backupDatabase(checked, request, ctx),
    restore: (request, ctx) => stageRestore(checked, request, ctx),
    undo: (record, ctx) => undoRestore(checked, record, ctx),
    inspect: (member, ctx) => inspectMember(checked, member, ctx),
    comparePositions,
    follows,
    forget: (manifest, ctx) => forgetBackup(checked, manifest, ctx),
    removeLeftovers: (ctx) => removeLeftovers(checked, ctx),
  }
}
