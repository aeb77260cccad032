/** Questions about the backups and marks that `msdb` knows of; see `server.ts` for how values come. */

/** Answer of {@link HISTORY_BY_NAME} and {@link LATEST_HISTORY}: one row for each backup. */
export interface HistoryRow {
  readonly backupSetId: number
  readonly backupSetGuid: string
  readonly mediaSetId: number
  readonly firstFamily: number
  readonly lastFamily: number
  /** Which backup of its media set, from 1. */
  readonly position: number
  readonly name: string | null
  readonly description: string | null
  readonly userName: string | null
  readonly serverName: string | null
  /** D full, I differential, L log; F, G, P, Q of files and parts. */
  readonly type: string
  readonly firstLsn: string | null
  readonly lastLsn: string | null
  readonly checkpointLsn: string | null
  readonly databaseBackupLsn: string | null
  readonly differentialBaseLsn: string | null
  readonly firstForkGuid: string | null
  readonly lastForkGuid: string | null
  readonly forkPointLsn: string | null
  readonly familyGuid: string | null
  readonly isCopyOnly: boolean
  readonly isDamaged: boolean
  readonly hasChecksums: boolean
  readonly hasBulkLoggedData: boolean
  readonly recoveryModel: string | null
  readonly collation: string | null
  readonly compatibilityLevel: number | null
  /** Local time of the server, `2026-01-31T12:00:00.123`, to a second. */
  readonly startedAt: string
  readonly finishedAt: string
  /** Quarters of an hour east of Greenwich at the start of the backup; 127: unknown. */
  readonly timeZone: number | null
  readonly backupBytes: string | null
  readonly compressedBytes: string | null
}

const HISTORY_COLUMNS = `
  b.backup_set_id AS backupSetId,
  CAST(b.backup_set_uuid AS varchar(36)) AS backupSetGuid,
  b.media_set_id AS mediaSetId,
  b.first_family_number AS firstFamily,
  b.last_family_number AS lastFamily,
  b.position AS position,
  b.name AS name,
  b.description AS description,
  b.user_name AS userName,
  b.server_name AS serverName,
  b.type AS type,
  CAST(b.first_lsn AS varchar(25)) AS firstLsn,
  CAST(b.last_lsn AS varchar(25)) AS lastLsn,
  CAST(b.checkpoint_lsn AS varchar(25)) AS checkpointLsn,
  CAST(b.database_backup_lsn AS varchar(25)) AS databaseBackupLsn,
  CAST(b.differential_base_lsn AS varchar(25)) AS differentialBaseLsn,
  CAST(b.first_recovery_fork_guid AS varchar(36)) AS firstForkGuid,
  CAST(b.last_recovery_fork_guid AS varchar(36)) AS lastForkGuid,
  CAST(b.fork_point_lsn AS varchar(25)) AS forkPointLsn,
  CAST(b.family_guid AS varchar(36)) AS familyGuid,
  CAST(ISNULL(b.is_copy_only, 0) AS bit) AS isCopyOnly,
  CAST(ISNULL(b.is_damaged, 0) AS bit) AS isDamaged,
  CAST(ISNULL(b.has_backup_checksums, 0) AS bit) AS hasChecksums,
  CAST(ISNULL(b.has_bulk_logged_data, 0) AS bit) AS hasBulkLoggedData,
  b.recovery_model AS recoveryModel,
  b.collation_name AS collation,
  CAST(b.compatibility_level AS int) AS compatibilityLevel,
  CONVERT(varchar(23), b.backup_start_date, 126) AS startedAt,
  CONVERT(varchar(23), b.backup_finish_date, 126) AS finishedAt,
  CAST(b.time_zone AS int) AS timeZone,
  CAST(b.backup_size AS varchar(20)) AS backupBytes,
  CAST(b.compressed_backup_size AS varchar(20)) AS compressedBytes
FROM msdb.dbo.backupset AS b`

/** The backups of `@database` with the NAME `@name`, newest first. */
export const HISTORY_BY_NAME = `SELECT${HISTORY_COLUMNS}
WHERE b.database_name = @database AND b.name = @name
ORDER BY b.backup_set_id DESC;`

/** The newest 50 backups of `@database` of the kinds D, I and L, whoever made them, newest first: who broke a chain. */
export const LATEST_HISTORY = `SELECT TOP (50)${HISTORY_COLUMNS}
WHERE b.database_name = @database AND b.type IN ('D', 'I', 'L')
ORDER BY b.backup_set_id DESC;`

/** Answer of {@link HISTORY_DEVICES}: one row for each stripe. */
export interface HistoryDeviceRow {
  readonly family: number
  readonly path: string | null
  /** 2 disk, 5 tape, 7 virtual, 9 URL; above 100 a named device. */
  readonly deviceType: number | null
}

/** The files of the media set `@mediaSetId`, without its mirrors. */
export const HISTORY_DEVICES = `SELECT
  CAST(m.family_sequence_number AS int) AS family,
  m.physical_device_name AS path,
  CAST(m.device_type AS int) AS deviceType
FROM msdb.dbo.backupmediafamily AS m
WHERE m.media_set_id = @mediaSetId AND m.mirror = 0
ORDER BY m.family_sequence_number;`

/** Answer of {@link LOG_MARKS}: one row for each marked transaction. */
export interface LogMarkRow {
  readonly mark: string
  readonly description: string | null
  readonly userName: string
  /** Of its commit: a restore up to this LSN ends with it. */
  readonly lsn: string
  /** Local time of the server. */
  readonly markedAt: string
}

/**
 * Marked transactions of `@database` from `@firstLsn` (decimal) on and before `@lastLsn`, in their order; one more than
 * are of use.
 */
export const LOG_MARKS = `SELECT TOP (1001)
  m.mark_name AS mark,
  m.description AS description,
  m.user_name AS userName,
  CAST(m.lsn AS varchar(25)) AS lsn,
  CONVERT(varchar(23), m.mark_time, 126) AS markedAt
FROM msdb.dbo.logmarkhistory AS m
WHERE m.database_name = @database
  AND m.lsn >= CAST(@firstLsn AS numeric(25, 0)) AND m.lsn < CAST(@lastLsn AS numeric(25, 0))
ORDER BY m.lsn;`
