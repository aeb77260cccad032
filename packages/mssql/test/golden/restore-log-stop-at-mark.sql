RESTORE LOG [TaskManagement] FROM DISK = N'/var/opt/mssql/backup/O''Brien.trn' WITH NORECOVERY, STOPATMARK = N'price list ''A''', CHECKSUM, STATS = 5;
