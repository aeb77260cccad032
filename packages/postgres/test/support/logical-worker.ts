// Does one backup or restore, says what it is about, and is killed meanwhile.
import {
  createBackup,
  defineBackupPlan,
  directory,
  restoreBackup,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { type PostgresOptions, postgres } from '../../src/index.ts'
import { dieAt, onEvent, say, telling } from './telling.ts'

export interface LogicalOrders {
  readonly job: 'backup' | 'restore' | 'undo'
  readonly postgres: PostgresOptions
  readonly backups: string
  readonly temporary: string
  readonly undo?: UndoRecord
  /** Kill itself at the n-th thing it says; nothing comes after that. */
  readonly killAt?: number
}

process.once('disconnect', () => process.exit())
process.once('message', async (orders: LogicalOrders) => {
  const { job, postgres: options, backups, temporary, undo, killAt } = orders
  dieAt(killAt)
  const plan = defineBackupPlan({
    name: 'tasks',
    adapter: postgres(options),
    destinations: [directory(backups)],
    temporaryDirectory: temporary,
    runtime: telling,
  })
  try {
    if (job === 'backup') await createBackup(plan, { onEvent })
    else if (job === 'restore') await restoreBackup(plan, { onEvent })
    else await undoRestore(plan, undo as UndoRecord, { onEvent })
    say('done')
  } catch (error) {
    say(`failed: ${error}`)
  }
})
process.send?.({ ready: true })
