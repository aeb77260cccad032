// Is the newest backup good enough to go back to? Restores it into a scratch place, lets SQLite check it, and then asks
// what only the app knows. For cron and CI:
//
//   node restore-check.ts DATABASE BACKUPS
//
// Exit codes: 0 the backup is good, 1 it is not, 2 it could not be checked.
import {
  BackupError,
  defineBackupPlan,
  directory,
  planRecovery,
  type RestoreCheck,
  verifyBackup,
} from '@taskflow-backup/core'
import { sqlite } from '@taskflow-backup/sqlite'
import Database from 'better-sqlite3'

const MOST_LOSS_MS = 26 * 3_600_000
const BAD_BACKUP = ['VERIFICATION_FAILED', 'MANIFEST_DAMAGED', 'BACKUP_NOT_FOUND']

/** What the app knows about its data and SQLite does not. */
const appCheck: RestoreCheck = async ({ location }) => {
  const database = new Database(location, { readonly: true, fileMustExist: true })
  const count = (sql: string): number => database.prepare(sql).pluck().get() as number
  try {
    const users = count('SELECT count(*) FROM users')
    const ownerless = count('SELECT count(*) FROM tasks WHERE owner_id NOT IN (SELECT id FROM users)')
    return [
      { check: 'users', severity: users > 0 ? 'ok' : 'error', message: `${users} users can log in.` },
      { check: 'owners', severity: ownerless === 0 ? 'ok' : 'error', message: `${ownerless} tasks have no owner.` },
    ]
  } finally {
    database.close()
  }
}

const [file = 'taskmanagement.db', backups = 'backups'] = process.argv.slice(2)
try {
  const plan = defineBackupPlan({
    name: 'taskmanagement',
    adapter: sqlite({ file }),
    destinations: [directory(backups)],
  })
  const { backups: used, lossMs } = await planRecovery(plan)
  const id = used[0]?.id as string
  console.log(`${id}: a restore now would lose ${Math.ceil(lossMs / 60_000)} minutes.`)
  if (lossMs > MOST_LOSS_MS) throw new BackupError('VERIFICATION_FAILED', 'The newest backup is too old.')
  const { destinations, durationMs } = await verifyBackup(plan, { id, level: 'restored', checks: [appCheck] })
  for (const { name, findings } of destinations) {
    for (const { check, severity, message } of findings)
      console.log(`${name}  ${severity.padEnd(7)} ${check}: ${message}`)
  }
  console.log(`Verified at level restored in ${durationMs} ms.`)
  console.log('The backup is good.')
} catch (thrown) {
  if (!(thrown instanceof BackupError)) throw thrown
  console.error(`${thrown.code}: ${thrown.message}\nHint: ${thrown.hint}`)
  process.exitCode = BAD_BACKUP.includes(thrown.code) ? 1 : 2
}
