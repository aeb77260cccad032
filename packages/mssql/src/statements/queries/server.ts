/**
 * Questions about the server and this login, one text each, with named parameters. What JavaScript cannot hold as a
 * number (LSNs, bigint, large numerics) comes as decimal text, GUIDs as text, times as ISO 8601 text without a zone; so
 * in all files of this folder.
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
