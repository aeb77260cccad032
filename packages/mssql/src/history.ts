import { BackupError, type BackupKind } from '@taskflow-backup/core'
import { formatPosition, parseLsn } from './lsn.ts'
import type { SqlSession } from './session.ts'
import {
  HISTORY_BY_NAME,
  HISTORY_DEVICES,
  type HistoryDeviceRow,
  type HistoryRow,
} from './statements/queries/history.ts'

/** What msdb tells about a backup that was just made; LSNs are 25 digits. */
export interface MadeRow {
  readonly kind: BackupKind
  readonly databaseName: string
  readonly serverName: string
  readonly backupSetGuid: string
  readonly firstLsn: string
  readonly lastLsn: string
  readonly checkpointLsn: string
  readonly databaseBackupLsn: string
  readonly differentialBaseLsn?: string
  readonly firstForkGuid?: string
  readonly lastForkGuid?: string
  readonly familyGuid?: string
  readonly isCopyOnly: boolean
  readonly hasBulkLoggedData: boolean
  readonly collation?: string
  readonly compatibilityLevel: number
  /** Of all files together. */
  readonly bytes: number
}

const KINDS: { readonly [type: string]: BackupKind } = { D: 'full', I: 'differential', L: 'log' }

/** An LSN in the form of a manifest's positions. */
export const toPosition = (lsn: string): string => formatPosition(parseLsn(lsn))

/**
 * Finds the backup that was made under a name, and that it is the one in the files that were asked for.
 *
 * @throws `SERVER_FAILED` when msdb does not know it
 */
export async function readMade(
  session: SqlSession,
  { database, name, paths }: { readonly database: string; readonly name: string; readonly paths: readonly string[] },
): Promise<MadeRow> {
  const rows = await session.rows<HistoryRow>(HISTORY_BY_NAME, { database, name })
  for (const row of rows) {
    const devices = await session.rows<HistoryDeviceRow>(HISTORY_DEVICES, { mediaSetId: row.mediaSetId })
    const found = devices.map(({ path }) => path)
    if (found.length === paths.length && paths.every((path) => found.includes(path))) return toMade(database, row)
  }
  throw new BackupError('SERVER_FAILED', `The server made the backup ${name}, but msdb does not know it.`, {
    hint: 'Let the login read msdb.dbo.backupset and backupmediafamily; look whether a job empties the history.',
  })
}

function toMade(database: string, row: HistoryRow): MadeRow {
  const { firstLsn, lastLsn, checkpointLsn, databaseBackupLsn, differentialBaseLsn } = row
  const kind = KINDS[row.type]
  if (!kind || firstLsn === null || lastLsn === null || row.isDamaged) {
    const what = row.isDamaged ? 'is damaged' : `is of type ${row.type}, from ${firstLsn} to ${lastLsn}`
    throw new BackupError('SERVER_FAILED', `By msdb, the backup ${row.name} ${what}.`)
  }
  return {
    kind,
    databaseName: database,
    serverName: row.serverName ?? '',
    backupSetGuid: row.backupSetGuid,
    firstLsn: toPosition(firstLsn),
    lastLsn: toPosition(lastLsn),
    checkpointLsn: toPosition(checkpointLsn ?? '0'),
    databaseBackupLsn: toPosition(databaseBackupLsn ?? '0'),
    ...(differentialBaseLsn !== null && { differentialBaseLsn: toPosition(differentialBaseLsn) }),
    ...(row.firstForkGuid !== null && { firstForkGuid: row.firstForkGuid }),
    ...(row.lastForkGuid !== null && { lastForkGuid: row.lastForkGuid }),
    ...(row.familyGuid !== null && { familyGuid: row.familyGuid }),
    isCopyOnly: row.isCopyOnly,
    hasBulkLoggedData: row.hasBulkLoggedData,
    ...(row.collation !== null && { collation: row.collation }),
    compatibilityLevel: row.compatibilityLevel ?? 0,
    bytes: Number(row.compressedBytes ?? row.backupBytes ?? 0),
  }
}
