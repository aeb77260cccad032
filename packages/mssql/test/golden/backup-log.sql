BACKUP LOG [TaskManagement] TO DISK = N'/var/opt/mssql/backup/O''Brien.trn' WITH FORMAT, INIT, CHECKSUM, NAME = N'20260131T120000Z-1a2b3c4d', DESCRIPTION = N'taskflow-backup', STATS = 5;
