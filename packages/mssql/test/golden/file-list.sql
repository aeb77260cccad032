RESTORE FILELISTONLY FROM DISK = N'D:\Backup\TaskManagement_1of3.bak', DISK = N'D:\Backup\TaskManagement_2of3.bak', DISK = N'D:\Backup\TaskManagement_3of3.bak';
