import { createBackup, defineBackupPlan, directory, restoreBackup, verifyBackup } from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'

const plan = defineBackupPlan({
  name: 'taskmanagement',
  adapter: sqlite({ file: 'taskmanagement.db' }),
  destinations: [directory('backups')],
})

const { id } = await createBackup(plan)
await verifyBackup(plan, { id, level: 'restored' })
await restoreBackup(plan, { id, to: 'copy.db' })
