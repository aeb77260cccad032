DROP DATABASE [we]]ird'; DROP DATABASE [x]];--];
