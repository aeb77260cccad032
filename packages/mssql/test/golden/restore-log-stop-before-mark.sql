RESTORE LOG [TaskManagement] FROM DISK = N'/var/opt/mssql/backup/O''Brien.trn' WITH NORECOVERY, STOPBEFOREMARK = N'nightly' AFTER N'2026-01-31T00:00:00', CHECKSUM, STATS = 5;
