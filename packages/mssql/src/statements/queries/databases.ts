/** Questions about databases, their files and who is in them; see `server.ts` for how values come. */

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
