// A process that backs up, restores or undoes until it is killed. It gets its orders over IPC.
import {
  createBackup,
  defineBackupPlan,
  directory,
  restoreBackup,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { type MssqlOptions, mssql } from '../../src/index.ts'

export interface RestoreOrders {
  readonly mssql: MssqlOptions
  readonly backups: string
  /** Makes a full. */
  readonly backup?: true
  /** Without this and `backup`: restores. */
  readonly undo?: UndoRecord
}

process.once('message', async ({ mssql: options, backups, backup, undo }: RestoreOrders) => {
  const plan = defineBackupPlan({ name: 'tasks', adapter: mssql(options), destinations: [directory(backups)] })
  await (backup ? createBackup(plan) : undo ? undoRestore(plan, undo) : restoreBackup(plan))
  process.disconnect()
})
