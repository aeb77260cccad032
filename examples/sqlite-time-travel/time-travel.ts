// Somebody deletes the wrong rows; the app goes back to the second before and shows the difference.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BackupPlan,
  defineBackupPlan,
  directory,
  followLog,
  planRecovery,
  recoveryWindow,
  restoreBackup,
} from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import Database from 'better-sqlite3'
import { App, countTasks, createTasks } from './tasks.ts'

/** How often it is captured what was committed. A second is enough for most; this example has no time to lose. */
const EVERY_MS = 200

const folder = await mkdtemp(join(tmpdir(), 'taskflow-time-travel-'))
try {
  const file = join(folder, 'taskmanagement.db')
  createTasks(file)
  const plan = defineBackupPlan({
    name: 'taskmanagement',
    adapter: sqlite({ file }),
    destinations: [directory(join(folder, 'backups'))],
  })
  await goBack(plan, file)
} finally {
  await rm(folder, { recursive: true })
}

async function goBack(plan: BackupPlan, file: string): Promise<void> {
  heading('The app works, and its log is followed')
  const following = await followLog(plan, { everyMs: EVERY_MS })
  let app = new App(file)
  await sleep(1500)
  const { backupId = 'none', lagMs } = await following.health()
  console.log(`Tasks: ${app.count()}. The newest backup is ${backupId}; ${lagMs} ms are in none yet.`)

  heading('Somebody mixes up 0 and 1')
  const before = app.count()
  const at = new Date(Date.now() - 1)
  const deleted = deleteOpenTasks(file)
  console.log(`${at.toISOString()}: ${before}. Then DELETE FROM tasks WHERE done = 0 takes ${deleted} tasks.`)
  await sleep(500)
  console.log(`Nobody noticed yet, and the app goes on: ${app.count()}.`)
  await following.flush()

  heading('Look before anything is touched')
  const recovery = await planRecovery(plan, { at })
  console.log(`${recovery.backups.map(({ kind }) => kind).join(', ')} lead back to ${at.toISOString()}.`)
  const beside = join(folder, 'before.db')
  const looked = await restoreBackup(plan, { at, to: beside })
  for (const { check, severity, message } of looked.findings) console.log(`${severity.padEnd(7)} ${check}: ${message}`)
  showDifference(file, beside)

  heading('Go back')
  // Nobody may have the database open while it is replaced: neither the app, nor the one who follows it.
  await app.stop()
  await following.stop()
  const { undo, durationMs } = await restoreBackup(plan, { at })
  console.log(`Restored over the live database in ${durationMs} ms. What takes it back, undoRestore(plan, record):`)
  console.log(undo)
  const added = bringOver(file, undo.kept as string)
  console.log(`${added} tasks that were added since are brought over from what was live before.`)

  heading('Go on')
  const again = await followLog(plan, { everyMs: EVERY_MS })
  app = new App(file)
  await sleep(500)
  console.log(`Tasks: ${app.count()}.`)
  await app.stop()
  await again.stop()
  const { chains } = await recoveryWindow(plan)
  for (const { after, until, reason } of chains.flatMap(({ gaps }) => gaps))
    console.log(`No way back to between ${after.toISOString()} and ${until.toISOString()}: ${reason}`)
}

/** In a connection of its own, as from a console. */
function deleteOpenTasks(file: string): number {
  const database = new Database(file, { timeout: 5_000 })
  const { changes } = database.prepare('DELETE FROM tasks WHERE done = 0').run()
  database.close()
  return changes
}

function showDifference(live: string, restored: string): void {
  const database = new Database(live)
  database.prepare('ATTACH ? AS restored').run(restored)
  const count = (sql: string): number => database.prepare(`SELECT count(*) FROM ${sql}`).pluck().get() as number
  const missing = count('restored.tasks WHERE id NOT IN (SELECT id FROM main.tasks)')
  const newer = count('main.tasks WHERE id > (SELECT max(id) FROM restored.tasks)')
  console.log(`Live:     ${countTasks(database, 'main.tasks')}`)
  console.log(`Restored: ${countTasks(database, 'restored.tasks')}`)
  console.log(`${missing} tasks are missing in the live database, ${newer} were added to it since.`)
  database.close()
}

/** What the app added after the moment that was restored is in the database that was replaced. */
function bringOver(live: string, kept: string): number {
  const database = new Database(live)
  database.prepare('ATTACH ? AS kept').run(kept)
  const { changes } = database
    .prepare('INSERT INTO main.tasks SELECT * FROM kept.tasks WHERE id > (SELECT max(id) FROM main.tasks)')
    .run()
  database.close()
  return changes
}

function heading(text: string): void {
  console.log(`\n${text}\n${'-'.repeat(text.length)}`)
}
