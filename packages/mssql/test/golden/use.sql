USE [Task]]Management];
