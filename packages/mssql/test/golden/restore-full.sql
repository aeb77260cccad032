RESTORE DATABASE [TaskManagement] FROM DISK = N'D:\Backup\TaskManagement.bak' WITH NORECOVERY, CHECKSUM, STATS = 5;
