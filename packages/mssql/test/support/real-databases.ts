import { checkDatabaseStatement } from '../../src/statements/database.ts'
import { identifier, literal } from '../../src/statements/quote.ts'
import { headerStatement } from '../../src/statements/restore.ts'
import type { Client } from './engine/client.ts'
import { type BackupHeaderRow, FIRST_TITLE, type ServerUnderTest } from './server-under-test.ts'

type Databases = Pick<
  ServerUnderTest,
  | 'createDatabase'
  | 'insert'
  | 'insertMarked'
  | 'titles'
  | 'addBackupOperator'
  | 'corrupt'
  | 'breakBackup'
  | 'header'
  | 'locks'
>

const PAGE_BYTES = 8192
/** In the first row of a page of `entry`: after the page's header of 96 bytes, 4 of the row's own and the key. */
const NUMBER_AT = 96 + 4 + 4
/** Anywhere in the text of a row of `ballast`. */
const FILLER_AT = 200

/** What is done with databases of a real server, in T-SQL. All of it from `master`, so that no database is in use. */
export function realDatabases(client: Client): Databases {
  async function createDatabase(name: string, ballastBytes = 0): Promise<void> {
    const database = identifier(name)
    const rows = Math.max(1, Math.ceil(ballastBytes / PAGE_BYTES))
    // One by one: a batch is compiled before the database is there.
    for (const statement of [
      `CREATE DATABASE ${database};`,
      `ALTER DATABASE ${database} SET RECOVERY FULL;`,
      `CREATE TABLE ${database}.dbo.entry (
        id int IDENTITY PRIMARY KEY, number int NOT NULL DEFAULT 7 INDEX entry_number, title nvarchar(200) NOT NULL);`,
      `CREATE TABLE ${database}.dbo.ballast (filler char(8000) NOT NULL);`,
      `INSERT ${database}.dbo.ballast
        SELECT TOP (${rows}) CONVERT(char(36), NEWID()) FROM sys.all_columns AS a CROSS JOIN sys.all_columns AS b;`,
    ])
      await client.must(statement)
    await insert(name, FIRST_TITLE)
  }

  async function insert(database: string, title: string): Promise<void> {
    await client.rows(`INSERT ${identifier(database)}.dbo.entry (title) VALUES (@title);`, { title })
  }

  /** Changes four bytes of the page that holds a row. `direct`: on disk, where the page's checksum stays what it was. */
  async function overwrite(database: string, table: string, at: number, direct: boolean): Promise<void> {
    const [place] = await client.rows<{ database: number; file: number; page: number }>(
      `SELECT TOP (1) DB_ID(@database) AS [database], p.file_id AS [file], p.page_id AS [page]
      FROM ${identifier(database)}.dbo.${table} CROSS APPLY sys.fn_PhysLocCracker(%%physloc%%) AS p;`,
      { database },
    )
    if (!place) throw new Error(`${table} has no row to damage`)
    const write = `DBCC WRITEPAGE (${place.database}, ${place.file}, ${place.page}, ${at}, 4, 0x04030201, ${direct ? 1 : 0});`
    if (!direct) return void (await client.must(write))
    const name = identifier(database)
    await client.must(`USE ${name}; CHECKPOINT; USE master;`)
    await client.must(
      `ALTER DATABASE ${name} SET SINGLE_USER WITH ROLLBACK IMMEDIATE; ${write} ALTER DATABASE ${name} SET MULTI_USER;`,
    )
  }

  return {
    createDatabase,
    insert,
    async insertMarked(database, mark, title) {
      await client.must(
        `USE ${identifier(database)};
        BEGIN TRANSACTION ${identifier(mark)} WITH MARK;
        INSERT dbo.entry (title) VALUES (${literal(title)});
        COMMIT TRANSACTION;
        USE master;`,
      )
    },
    async titles(database) {
      const rows = await client.rows<{ title: string }>(
        `SELECT title FROM ${identifier(database)}.dbo.entry ORDER BY id;`,
      )
      return rows.map(({ title }) => title)
    },
    async addBackupOperator(database, login, password) {
      const name = identifier(login)
      await client.must(`CREATE LOGIN ${name} WITH PASSWORD = ${literal(password)}, CHECK_POLICY = OFF;`)
      await client.must(
        `USE ${identifier(database)};
        CREATE USER ${name} FOR LOGIN ${name};
        ALTER ROLE db_backupoperator ADD MEMBER ${name};
        USE master;`,
      )
    },
    async corrupt(database) {
      // The index has another number than the row: nothing but CHECKDB looks at both.
      await overwrite(database, 'entry', NUMBER_AT, false)
      const { errors } = await client.run(checkDatabaseStatement(database))
      if (errors.length === 0) throw new Error(`DBCC CHECKDB finds nothing in ${database}, which was damaged`)
    },
    // BACKUP WITH CHECKSUM stops at a page whose checksum is wrong.
    breakBackup: (database) => overwrite(database, 'ballast', FILLER_AT, true),
    async header(device) {
      const statement = headerStatement([device])
      const { recordset } = await client.pool.request().batch(statement)
      // The driver makes numbers of LSNs and loses digits; the server makes text of whatever the columns are.
      const columns = Object.keys(recordset.columns).map((name) => `${identifier(name)} nvarchar(4000) NULL`)
      const [row] = await client.rows<BackupHeaderRow>(
        `CREATE TABLE #header (${columns.join(', ')});
        INSERT #header EXECUTE (@statement);
        SELECT * FROM #header;`,
        { statement },
      )
      if (!row) throw new Error(`RESTORE HEADERONLY says nothing of ${device.path}`)
      return row
    },
    async locks() {
      const rows = await client.rows<{ resource: string }>(
        `SELECT resource_description AS resource FROM sys.dm_tran_locks WHERE resource_type = N'APPLICATION';`,
      )
      return rows.map(({ resource }) => resource)
    },
  }
}
