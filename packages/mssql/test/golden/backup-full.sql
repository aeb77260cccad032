BACKUP DATABASE [TaskManagement] TO DISK = N'D:\Backup\TaskManagement.bak' WITH FORMAT, INIT, CHECKSUM, NAME = N'20260131T120000Z-1a2b3c4d', DESCRIPTION = N'taskflow-backup', STATS = 5;
