EXECUTE master.sys.xp_delete_file 0, N'/var/opt/mssql/backup/O''Brien.trn';
