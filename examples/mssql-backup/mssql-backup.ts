// Backs a database of your SQL Server up, and proves the backup: restored beside the live one, DBCC CHECKDB, dropped.
//
// Exit codes: 0 the backup is good, or there is no server to show it with; 1 something failed.
import {
  BackupError,
  type BackupKind,
  createBackup,
  defineBackupPlan,
  directory,
  planRecovery,
  verifyBackup,
} from '@taskflow-backup/core'
import { mssql } from '@taskflow-backup/mssql'
import { readSettings, type Settings, whatIsMissing } from './settings.ts'

const settings = readSettings(process.env)
if (settings) {
  try {
    await prove(settings)
  } catch (thrown) {
    if (!(thrown instanceof BackupError)) throw thrown
    console.error(`${thrown.code}: ${thrown.message}\nHint: ${thrown.hint}`)
    process.exitCode = 1
  }
} else console.log(whatIsMissing(process.env))

async function prove({ options, backups, logBackup }: Settings): Promise<void> {
  const plan = defineBackupPlan({ name: 'example', adapter: mssql(options), destinations: [directory(backups)] })

  async function backUp(kind: BackupKind): Promise<string> {
    const made = await createBackup(plan, { kind, onEvent: (event) => event.type === 'warning' && warn(event.message) })
    const { requested, consistentAt } = made.manifest
    console.log(`${made.kind.padEnd(5)} ${made.id}: ${mib(made.plainBytes)} stored as ${mib(made.storedBytes)}`)
    console.log(`      holds everything up to ${consistentAt}, took ${made.durationMs} ms`)
    if (requested) console.log(`      instead of a ${requested.kind}: ${requested.reason}`)
    return made.id
  }

  let id = await backUp('full')
  if (logBackup) id = await backUp('log')

  const { backups: used, lossMs } = await planRecovery(plan)
  console.log(`A restore now would take ${used.length} backup(s) and lose ${Math.ceil(lossMs / 1000)} s.`)
  const { destinations, durationMs } = await verifyBackup(plan, { id, level: 'restored' })
  for (const { findings } of destinations)
    for (const { check, severity, message } of findings) console.log(`${severity.padEnd(7)} ${check}: ${message}`)
  console.log(`Restored into a database of its own, checked and dropped again in ${durationMs} ms.`)
  console.log('The live database was not touched.')
}

function warn(message: string): void {
  console.error(`warning: ${message}`)
}

function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}
