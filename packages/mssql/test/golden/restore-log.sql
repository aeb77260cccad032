RESTORE LOG [TaskManagement] FROM DISK = N'/var/opt/mssql/backup/O''Brien.trn' WITH NORECOVERY, CHECKSUM, STATS = 5;
