RESTORE HEADERONLY FROM DISK = N'/var/opt/mssql/backup/O''Brien.trn';
