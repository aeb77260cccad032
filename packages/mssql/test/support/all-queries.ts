/** Every question of the adapter to the server. */
export * from '../../src/statements/queries/databases.ts'
export * from '../../src/statements/queries/files.ts'
export * from '../../src/statements/queries/history.ts'
export * from '../../src/statements/queries/server.ts'
