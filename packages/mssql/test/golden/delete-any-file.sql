EXECUTE master.sys.xp_delete_files N'D:\Backup\TaskManagement.bak';
