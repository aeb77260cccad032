RESTORE LOG [TaskManagement] FROM DISK = N'/var/opt/mssql/backup/O''Brien.trn' WITH RECOVERY, STOPAT = N'2026-01-31T12:34:56.997', CHECKSUM, STATS = 5;
