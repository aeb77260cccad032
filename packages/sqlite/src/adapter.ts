import type { BackupAdapter } from '@taskflow-backup/core'
import { backupFull, sourceSettings, toSourceFacts } from './backup.ts'
import { backupDifferential } from './backup-differential.ts'
import { backupLog } from './backup-log.ts'
import { runJob } from './child-process.ts'
import { followLog } from './follow.ts'
import { inspectMember } from './inspect.ts'
import { removeLeftovers } from './leftovers.ts'
import { mergeLogs } from './merge.ts'
import { checkOptions, type SqliteOptions } from './options.ts'
import { ENGINE, stageRestore, stopPosition, undoRestore } from './restore.ts'
import { assertRuntime } from './runtime.ts'

/**
 * Backs up and restores one SQLite database file.
 *
 * A backup is the image of one commit of the live database, read in a single pass by a child process while writers go
 * on. The app's own process never opens the file, so the locks of its connections stay.
 *
 * @throws `OPTIONS_INVALID`, `SOURCE_IN_MEMORY`, `RUNTIME_UNSUPPORTED`
 *
 * @example
 * ```ts
 * import { createBackup, defineBackupPlan, directory } from '@taskflow-backup/core'
 * import { sqlite } from '@taskflow-backup/sqlite'
 *
 * const plan = defineBackupPlan({
 *   name: 'app',
 *   adapter: sqlite({ file: 'app.db' }),
 *   destinations: [directory('backups')],
 * })
 * const { manifest } = await createBackup(plan)
 * console.log(manifest.method, manifest.members.length) // single-pass 2
 * ```
 */
export function sqlite(options: SqliteOptions): BackupAdapter {
  assertRuntime(process.versions.node)
  const checked = checkOptions(options)
  return {
    engine: ENGINE,
    kinds: ['full', 'differential', 'log'],
    pointInTime: 'captured',
    describe: async (ctx) =>
      toSourceFacts(checked.file, await runJob('describe', sourceSettings(checked, ctx.temporaryDirectory), ctx)),
    backup: (request, ctx) => BACKUPS[request.kind](checked, request, ctx),
    follow: (base, settings, ctx) => followLog(checked, base, settings, ctx),
    restore: (request, ctx) => stageRestore(checked, request, ctx),
    undo: (record, ctx) => undoRestore(checked, record, ctx),
    inspect: (member) => inspectMember(member),
    // See position.ts: SQLite itself has no order across checkpoints.
    comparePositions: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
    stopPosition,
    merge: (logs, request, ctx) => mergeLogs(logs, request, ctx),
    removeLeftovers: (ctx) => removeLeftovers(checked.file, ctx),
  }
}

const BACKUPS = { full: backupFull, differential: backupDifferential, log: backupLog } as const
