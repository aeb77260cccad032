RESTORE DATABASE [TaskManagement] FROM URL = N'https://account.blob.core.windows.net/backups/TaskManagement.bak' WITH CREDENTIAL = N'account key', NORECOVERY, STATS = 5;
