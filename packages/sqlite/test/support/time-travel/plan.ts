import { type BackupPlan, type BackupPlanOptions, defineBackupPlan, directory } from '@taskflow-backup/core'
import { sqlite } from '../../../src/index.ts'

/** Where everything of one history is; plain data. */
export interface HistoryPlaces {
  readonly file: string
  readonly backups: string
  readonly temporary: string
}

/** The plan of a history: the same one in every process. */
export function historyPlan(
  { file, backups, temporary }: HistoryPlaces,
  runtime: NonNullable<BackupPlanOptions['runtime']> = {},
): BackupPlan {
  return defineBackupPlan({
    name: 'history',
    adapter: sqlite({ file }),
    destinations: [directory(backups)],
    temporaryDirectory: temporary,
    lockWaitMs: 60_000,
    runtime,
  })
}
