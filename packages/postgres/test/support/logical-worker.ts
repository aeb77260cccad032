// Does one backup or restore, says what it is about, and is killed meanwhile.
import { writeSync } from 'node:fs'
import {
  type BackupEvent,
  createBackup,
  defineBackupPlan,
  directory,
  restoreBackup,
  type UndoRecord,
  undoRestore,
} from '@taskflow-backup/core'
import { type PostgresOptions, postgres } from '../../src/index.ts'

export interface LogicalOrders {
  readonly job: 'backup' | 'restore' | 'undo'
  readonly postgres: PostgresOptions
  readonly backups: string
  readonly temporary: string
  readonly undo?: UndoRecord
}

process.once('disconnect', () => process.exit())
process.once('message', async ({ job, postgres: options, backups, temporary, undo }: LogicalOrders) => {
  const plan = defineBackupPlan({
    name: 'tasks',
    adapter: postgres(options),
    destinations: [directory(backups)],
    temporaryDirectory: temporary,
  })
  const say = (text: string): void => void writeSync(1, `${text}\n`)
  const onEvent = (event: BackupEvent): void => say(event.type === 'progress' ? event.phase : event.type)
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
