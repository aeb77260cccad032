// Calls every verb once, says what is left that would hold it open, and ends by itself when nothing holds it open.
import { setImmediate } from 'node:timers/promises'
import {
  createBackup,
  defineBackupPlan,
  directory,
  listBackups,
  planRecovery,
  pruneBackups,
  restoreBackup,
  undoRestore,
  verifyBackup,
} from '@taskflow-backup/core'
import { sqlite } from '../../src/index.ts'

const [file = '', backups = '', temporaryDirectory = ''] = process.argv.slice(2)
const plan = defineBackupPlan({
  name: 'tasks',
  adapter: sqlite({ file }),
  destinations: [directory(backups)],
  temporaryDirectory,
})
await createBackup(plan)
await listBackups(plan)
await planRecovery(plan)
await verifyBackup(plan, { level: 'restored' })
const { undo } = await restoreBackup(plan)
await undoRestore(plan, undo)
await pruneBackups(plan)
await createBackup(plan, { signal: AbortSignal.timeout(20) }).catch(() => {})
for (let turn = 0; turn < 3; turn++) await setImmediate() // what has ended is closed
// Timers and children that hold the process open.
const held = process.getActiveResourcesInfo().filter((name) => /^(Timeout|Immediate|ProcessWrap|Worker)$/.test(name))
console.log(JSON.stringify(held))
