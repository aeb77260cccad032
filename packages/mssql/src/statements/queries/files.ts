/** Questions about files that the server sees; see `server.ts` for how values come. */

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
