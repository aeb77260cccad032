import type { BackupHeader } from './backup-set.ts'
import { secondText } from './clock.ts'
import type { Device } from './statements.ts'

export interface HistoryEntry {
  readonly id: number
  readonly mediaSetId: number
  readonly header: BackupHeader
  readonly devices: readonly Device[]
  readonly bytes: number
}

const TYPES = { full: 'D', differential: 'I', log: 'L' } as const

export interface MarkEntry {
  readonly database: string
  readonly mark: string
  readonly lsn: bigint
  /** Local time, ms. */
  readonly at: number
}

/** msdb.dbo.backupset, backupmediafamily and logmarkhistory. */
export class History {
  readonly entries: HistoryEntry[] = []
  readonly marks: MarkEntry[] = []

  add(header: BackupHeader, devices: readonly Device[], bytes: number): void {
    const id = this.entries.length + 1
    this.entries.push({ id, mediaSetId: 100 + id, header, devices, bytes })
  }

  /** Newest first. */
  of(database: string): HistoryEntry[] {
    const same = database.toLowerCase()
    return this.entries.filter(({ header }) => header.database.toLowerCase() === same).reverse()
  }
}

/** A row as `HISTORY_BY_NAME` asks for it. */
export const historyRow = ({ id, mediaSetId, header, bytes }: HistoryEntry) => ({
  backupSetId: id,
  backupSetGuid: header.setGuid,
  mediaSetId,
  firstFamily: 1,
  lastFamily: header.stripes,
  position: 1,
  name: header.name || null,
  description: header.description || null,
  userName: header.user,
  serverName: header.server,
  type: TYPES[header.kind],
  firstLsn: String(header.firstLsn),
  lastLsn: String(header.lastLsn),
  checkpointLsn: String(header.checkpointLsn),
  databaseBackupLsn: String(header.databaseBackupLsn),
  differentialBaseLsn: header.differentialBase ? String(header.differentialBase.lsn) : null,
  firstForkGuid: header.firstForkGuid,
  lastForkGuid: header.lastForkGuid,
  forkPointLsn: header.forkPointLsn === undefined ? null : String(header.forkPointLsn),
  familyGuid: header.familyGuid,
  isCopyOnly: header.copyOnly,
  isDamaged: false,
  hasChecksums: header.checksums,
  hasBulkLoggedData: false,
  recoveryModel: header.recoveryModel,
  collation: header.collation,
  compatibilityLevel: header.compatibilityLevel,
  startedAt: secondText(header.startedAt),
  finishedAt: secondText(header.finishedAt),
  timeZone: header.utcOffsetMinutes / 15,
  backupBytes: String(bytes),
  compressedBytes: String(bytes),
})
