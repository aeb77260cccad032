/**
 * The questions to the server, one text each, with named parameters. What JavaScript cannot hold as a number (LSNs,
 * bigint, large numerics) comes as decimal text, GUIDs as text, times as ISO 8601 text without a zone.
 */

/** Answer of {@link SERVER_FACTS}: one row. */
export interface ServerFactsRow {
  /** `16.0.4135.4` */
  readonly productVersion: string
  /** 2 Standard, 3 Enterprise or Developer, 4 Express, 5 Azure SQL Database, 8 Managed Instance. */
  readonly engineEdition: number
  readonly edition: string
  /** `HOST` or `HOST\INSTANCE`. */
  readonly serverName: string
  readonly dataPath: string | null
  readonly logPath: string | null
  /** Null before 2019. */
  readonly backupPath: string | null
  /** UTC, `2026-01-31T12:00:00.1234567`. */
  readonly utcNow: string
  /** East of Greenwich is positive. */
  readonly utcOffsetMinutes: number
  readonly platform: 'Windows' | 'Linux'
  readonly login: string
}

/** Version, edition, folders and clock of the server. */
export const SERVER_FACTS = `SELECT
  CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS productVersion,
  CAST(SERVERPROPERTY('EngineEdition') AS int) AS engineEdition,
  CAST(SERVERPROPERTY('Edition') AS nvarchar(128)) AS edition,
  CAST(SERVERPROPERTY('ServerName') AS nvarchar(128)) AS serverName,
  CAST(SERVERPROPERTY('InstanceDefaultDataPath') AS nvarchar(260)) AS dataPath,
  CAST(SERVERPROPERTY('InstanceDefaultLogPath') AS nvarchar(260)) AS logPath,
  CAST(SERVERPROPERTY('InstanceDefaultBackupPath') AS nvarchar(260)) AS backupPath,
  CONVERT(varchar(27), SYSUTCDATETIME(), 126) AS utcNow,
  DATEPART(TZOFFSET, SYSDATETIMEOFFSET()) AS utcOffsetMinutes,
  CASE CAST(SERVERPROPERTY('PathSeparator') AS nvarchar(1)) WHEN N'/' THEN 'Linux' ELSE 'Windows' END AS platform,
  SUSER_SNAME() AS login;`

/** Answer of {@link SERVER_CLOCK}: one row. */
export type ServerClockRow = Pick<ServerFactsRow, 'utcNow' | 'utcOffsetMinutes'>

/** What time it is for the server. */
export const SERVER_CLOCK = `SELECT
  CONVERT(varchar(27), SYSUTCDATETIME(), 126) AS utcNow,
  DATEPART(TZOFFSET, SYSDATETIMEOFFSET()) AS utcOffsetMinutes;`

/** Answer of {@link DATABASE_FACTS}: one row, none when there is no such database or it is hidden from the login. */
export interface DatabaseFactsRow {
  readonly databaseId: number
  readonly name: string
  /** ONLINE, RESTORING, RECOVERING, RECOVERY_PENDING, SUSPECT, EMERGENCY, OFFLINE. */
  readonly state: string
  readonly recoveryModel: 'FULL' | 'BULK_LOGGED' | 'SIMPLE'
  readonly userAccess: 'MULTI_USER' | 'SINGLE_USER' | 'RESTRICTED_USER'
  readonly isReadOnly: boolean
  /** Of a snapshot: the database it shows. */
  readonly sourceDatabaseId: number | null
  readonly isEncrypted: boolean
  readonly inAvailabilityGroup: boolean
  readonly compatibilityLevel: number
  readonly collation: string | null
  /** Where the next log backup begins. Null: no full yet, or simple recovery model, or hidden from the login. */
  readonly lastLogBackupLsn: string | null
  readonly recoveryForkGuid: string | null
  readonly familyGuid: string | null
  /** Checkpoint LSN of the full that a differential would be based on. Null: none, or hidden from the login. */
  readonly differentialBaseLsn: string | null
  readonly differentialBaseGuid: string | null
  /** Bytes of the data files. Null without VIEW ANY DEFINITION. */
  readonly dataBytes: string | null
  /** Bytes of the log files. Null without VIEW ANY DEFINITION. */
  readonly logBytes: string | null
}

/** State of `@database`, and where its chains stand. */
export const DATABASE_FACTS = `SELECT
  d.database_id AS databaseId,
  d.name AS name,
  d.state_desc AS state,
  d.recovery_model_desc AS recoveryModel,
  d.user_access_desc AS userAccess,
  d.is_read_only AS isReadOnly,
  d.source_database_id AS sourceDatabaseId,
  CAST(ISNULL(d.is_encrypted, 0) AS bit) AS isEncrypted,
  CAST(CASE WHEN d.replica_id IS NULL THEN 0 ELSE 1 END AS bit) AS inAvailabilityGroup,
  d.compatibility_level AS compatibilityLevel,
  d.collation_name AS collation,
  CAST(r.last_log_backup_lsn AS varchar(25)) AS lastLogBackupLsn,
  CAST(r.recovery_fork_guid AS varchar(36)) AS recoveryForkGuid,
  CAST(r.family_guid AS varchar(36)) AS familyGuid,
  CAST(f.differential_base_lsn AS varchar(25)) AS differentialBaseLsn,
  CAST(f.differential_base_guid AS varchar(36)) AS differentialBaseGuid,
  (SELECT CAST(SUM(CAST(m.size AS bigint)) * 8192 AS varchar(20)) FROM sys.master_files AS m
    WHERE m.database_id = d.database_id AND m.type <> 1) AS dataBytes,
  (SELECT CAST(SUM(CAST(m.size AS bigint)) * 8192 AS varchar(20)) FROM sys.master_files AS m
    WHERE m.database_id = d.database_id AND m.type = 1) AS logBytes
FROM sys.databases AS d
LEFT JOIN sys.database_recovery_status AS r ON r.database_id = d.database_id
LEFT JOIN sys.master_files AS f ON f.database_id = d.database_id AND f.file_id = 1
WHERE d.name = @database;`

/** Answer of {@link DATABASE_FILES}: one row for each file. */
export interface DatabaseFileRow {
  readonly fileId: number
  readonly logicalName: string
  readonly physicalName: string
  /** ROWS, LOG, FILESTREAM, FULLTEXT. */
  readonly type: string
  readonly sizeBytes: string
}

/** The files of `@database`. Nothing without VIEW ANY DEFINITION. */
export const DATABASE_FILES = `SELECT
  f.file_id AS fileId,
  f.name AS logicalName,
  f.physical_name AS physicalName,
  f.type_desc AS type,
  CAST(CAST(f.size AS bigint) * 8192 AS varchar(20)) AS sizeBytes
FROM sys.master_files AS f
WHERE f.database_id = DB_ID(@database)
ORDER BY f.file_id;`

/** Answer of {@link PERMISSIONS}: one row. Null: there is no such database. */
export interface PermissionsRow {
  readonly backupDatabase: boolean | null
  readonly backupLog: boolean | null
  readonly createAnyDatabase: boolean
  readonly alterAnyDatabase: boolean
  readonly administerBulkOperations: boolean
  readonly viewAnyDefinition: boolean
  readonly viewServerState: boolean
  readonly isSysadmin: boolean
  readonly isDbcreator: boolean
}

/** What this login may do, on the server and in `@database`. */
export const PERMISSIONS = `SELECT
  CAST(HAS_PERMS_BY_NAME(QUOTENAME(@database), 'DATABASE', 'BACKUP DATABASE') AS bit) AS backupDatabase,
  CAST(HAS_PERMS_BY_NAME(QUOTENAME(@database), 'DATABASE', 'BACKUP LOG') AS bit) AS backupLog,
  CAST(HAS_PERMS_BY_NAME(NULL, NULL, 'CREATE ANY DATABASE') AS bit) AS createAnyDatabase,
  CAST(HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY DATABASE') AS bit) AS alterAnyDatabase,
  CAST(HAS_PERMS_BY_NAME(NULL, NULL, 'ADMINISTER BULK OPERATIONS') AS bit) AS administerBulkOperations,
  CAST(HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW ANY DEFINITION') AS bit) AS viewAnyDefinition,
  CAST(HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE') AS bit) AS viewServerState,
  CAST(ISNULL(IS_SRVROLEMEMBER('sysadmin'), 0) AS bit) AS isSysadmin,
  CAST(ISNULL(IS_SRVROLEMEMBER('dbcreator'), 0) AS bit) AS isDbcreator;`

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

/** Answer of {@link DATABASES_LIKE}: one row for each database. */
export interface DatabaseRow {
  readonly databaseId: number
  readonly name: string
  readonly state: string
  readonly userAccess: string
  /** Local time of the server. */
  readonly createdAt: string
}

/**
 * Databases whose name is LIKE `@pattern` with `!` as escape, see {@link likePrefix}. Upper and lower case may count
 * the same: compare again.
 */
export const DATABASES_LIKE = `SELECT
  d.database_id AS databaseId,
  d.name AS name,
  d.state_desc AS state,
  d.user_access_desc AS userAccess,
  CONVERT(varchar(23), d.create_date, 126) AS createdAt
FROM sys.databases AS d
WHERE d.name LIKE @pattern ESCAPE N'!'
ORDER BY d.name;`

/** Pattern for {@link DATABASES_LIKE}: names that begin with this text. */
export const likePrefix = (text: string): string => `${text.replace(/[!%_[]/g, '!$&')}%`

/** Answer of {@link PHYSICAL_NAMES}: one row for each file of any database. */
export interface PhysicalNameRow {
  readonly physicalName: string
}

/** Paths that are taken, whatever the state of their databases. */
export const PHYSICAL_NAMES = `SELECT f.physical_name AS physicalName FROM sys.master_files AS f;`

/** Answer of {@link SESSIONS_OF}: one row for each session. */
export interface SessionRow {
  readonly sessionId: number
  readonly login: string
  readonly host: string | null
  readonly program: string | null
  readonly status: string
  readonly openTransactions: number
}

/** Sessions of users, other than this one, that are in `@database`. Without VIEW SERVER STATE: none. */
export const SESSIONS_OF = `SELECT
  CAST(s.session_id AS int) AS sessionId,
  s.login_name AS login,
  s.host_name AS host,
  s.program_name AS program,
  s.status AS status,
  s.open_transaction_count AS openTransactions
FROM sys.dm_exec_sessions AS s
WHERE s.database_id = DB_ID(@database) AND s.is_user_process = 1 AND s.session_id <> @@SPID
ORDER BY s.session_id;`

/** Answer of {@link VOLUME_SPACE}: one row for each volume. */
export interface VolumeRow {
  readonly mountPoint: string | null
  readonly totalBytes: string | null
  readonly availableBytes: string | null
}

/** Room on the volumes that hold the files of `@database`. Needs VIEW SERVER STATE. */
export const VOLUME_SPACE = `SELECT DISTINCT
  v.volume_mount_point AS mountPoint,
  CAST(v.total_bytes AS varchar(20)) AS totalBytes,
  CAST(v.available_bytes AS varchar(20)) AS availableBytes
FROM sys.master_files AS f
CROSS APPLY sys.dm_os_volume_stats(f.database_id, f.file_id) AS v
WHERE f.database_id = DB_ID(@database);`

/** Answer of {@link FILE_EXISTS} and {@link FILE_EXISTS_2016}: one row. */
export interface FileExistsRow {
  readonly fileExists: boolean
  readonly isDirectory: boolean
  readonly parentExists: boolean
}

/** Whether the server sees `@path`. From 2017 on; needs VIEW SERVER STATE. */
export const FILE_EXISTS = `SELECT
  CAST(e.file_exists AS bit) AS fileExists,
  CAST(e.file_is_a_directory AS bit) AS isDirectory,
  CAST(e.parent_directory_exists AS bit) AS parentExists
FROM sys.dm_os_file_exists(@path) AS e;`

/** As {@link FILE_EXISTS}, for every version; says no to everything unless the login is a sysadmin. */
export const FILE_EXISTS_2016 = `DECLARE @found TABLE (fileExists int, isDirectory int, parentExists int);
INSERT INTO @found EXECUTE master.sys.xp_fileexist @path;
SELECT
  CAST(f.fileExists AS bit) AS fileExists,
  CAST(f.isDirectory AS bit) AS isDirectory,
  CAST(f.parentExists AS bit) AS parentExists
FROM @found AS f;`

/** Answer of {@link FILE_BYTES}: one row, none when there is no such file. */
export interface FileBytesRow {
  readonly bytes: string
}

/** Size of the file `@name`, without wildcards, in `@directory`. From 2017 on; needs VIEW SERVER STATE. */
export const FILE_BYTES = `SELECT CAST(e.size_in_bytes AS varchar(20)) AS bytes
FROM sys.dm_os_enumerate_filesystem(@directory, @name) AS e
WHERE e.is_directory = 0 AND e.level = 0;`

/** Answer of {@link OWN_FILES}: one row for each file. */
export interface OwnFileRow {
  readonly name: string
  /** Since it was written last, decimal. */
  readonly ageSeconds: string
}

/**
 * Files in `@directory`, which ends with its separator, of which the names look like ours: temporary ones, and those of
 * backups that stay there, of which `msdb` knows no backup. The newest 100. From 2017 on; needs VIEW SERVER STATE.
 *
 * Whether the server tells these times in UTC or as its clocks show is not documented: the lesser age counts.
 */
export const OWN_FILES = `SELECT TOP (100)
  e.file_or_directory_name AS name,
  CAST(CASE WHEN SYSUTCDATETIME() < SYSDATETIME()
    THEN DATEDIFF_BIG(second, e.last_write_time, SYSUTCDATETIME())
    ELSE DATEDIFF_BIG(second, e.last_write_time, SYSDATETIME()) END AS varchar(20)) AS ageSeconds
FROM sys.dm_os_enumerate_filesystem(@directory, N'*') AS e
WHERE e.is_directory = 0 AND e.level = 0
  AND (e.file_or_directory_name LIKE N'taskflow!_temp!_%' ESCAPE N'!'
    OR (e.file_or_directory_name LIKE N'%!_backup!_%' ESCAPE N'!' AND NOT EXISTS (
      SELECT 1 FROM msdb.dbo.backupmediafamily AS m
      WHERE m.physical_device_name = @directory + e.file_or_directory_name)))
ORDER BY e.last_write_time DESC;`

/** Answer of {@link TAKE_APP_LOCK} and {@link RELEASE_APP_LOCK}: one row. */
export interface AppLockRow {
  /** 0: done. Below: not (-1: somebody else has it; -999: bad call, or not held). */
  readonly result: number
}

/** Takes the lock `@resource` (up to 255 characters) for as long as this session lives, or fails at once. */
export const TAKE_APP_LOCK = `DECLARE @result int;
EXECUTE @result = master.sys.sp_getapplock @Resource = @resource, @LockMode = 'Exclusive', @LockOwner = 'Session', @LockTimeout = 0;
SELECT @result AS result;`

/** Gives the lock `@resource` back. */
export const RELEASE_APP_LOCK = `DECLARE @result int;
EXECUTE @result = master.sys.sp_releaseapplock @Resource = @resource, @LockOwner = 'Session';
SELECT @result AS result;`

/** Answer of {@link TEST_APP_LOCK}: one row. */
export interface AppLockTestRow {
  /** True also when this very session holds it. */
  readonly isFree: boolean
}

/** Whether the lock `@resource` could be taken. The session must be in `master`, where the locks are. */
export const TEST_APP_LOCK = `SELECT CAST(APPLOCK_TEST('public', @resource, 'Exclusive', 'Session') AS bit) AS isFree;`
