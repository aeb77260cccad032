ALTER DATABASE [we]]ird'; DROP DATABASE [x]];--] MODIFY NAME = [TaskManagement];
