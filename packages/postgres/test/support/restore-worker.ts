// Does one restore or undo, and says on its output what it is about to do, so that a kill can be told where it hit.
import {
  defineBackupPlan,
  directory,
  type JsonValue,
  restoreBackup,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { type PostgresOptions, postgres } from '../../src/index.ts'
import { dieAt, type KillAt, onEvent, say, telling } from './telling.ts'

export interface RestoreOrders {
  readonly options: PostgresOptions
  readonly backups: string
  readonly temporary: string
  /** Restores here instead of over the live cluster. */
  readonly to?: JsonValue
  readonly overwrite?: boolean
  /** Takes this back instead of restoring. */
  readonly undo?: UndoRecord
  /** Kill itself when it has said that; nothing comes after it. */
  readonly killAt?: KillAt
}

process.once('disconnect', () => process.exit())
process.once('message', async (orders: RestoreOrders) => {
  dieAt(orders.killAt)
  const plan = defineBackupPlan({
    name: 'app',
    adapter: postgres(orders.options),
    destinations: [directory(orders.backups)],
    temporaryDirectory: orders.temporary,
    runtime: telling,
  })
  try {
    if (orders.undo) {
      process.send?.({ undo: await undoRestore(plan, orders.undo, { onEvent }) })
    } else {
      const { to, overwrite = false } = orders
      const { undo, findings } = await restoreBackup(plan, { onEvent, ...(to !== undefined && { to, overwrite }) })
      process.send?.({ undo, findings })
    }
    say('done')
  } catch (error) {
    say(`failed: ${error}`)
  }
})
process.send?.({ ready: true })
