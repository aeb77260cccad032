// A process that restores or undoes until it is killed. It gets its orders over IPC.
import { defineBackupPlan, directory, restoreBackup, type UndoRecord, undoRestore } from '@taskflow-backup/core'
import { type MssqlOptions, mssql } from '../../src/index.ts'

export interface RestoreOrders {
  readonly mssql: MssqlOptions
  readonly backups: string
  /** Absent: restore. */
  readonly undo?: UndoRecord
}

process.once('message', async ({ mssql: options, backups, undo }: RestoreOrders) => {
  const plan = defineBackupPlan({ name: 'tasks', adapter: mssql(options), destinations: [directory(backups)] })
  await (undo ? undoRestore(plan, undo) : restoreBackup(plan))
  process.disconnect()
})
