import { pathLiteral } from '../statements/quote.ts'

// A file of the server is read into a temporary table of the session, and from there in pieces: a single value is sent
// as a whole, and would need that much memory here.

/** Reads one file, of less than 2 GiB. Run as a statement: a table made by a query ends with the query. */
export const loadFileStatement = (path: string): string =>
  `SELECT f.BulkColumn AS data INTO #taskflow_read_back FROM OPENROWSET(BULK ${pathLiteral(path)}, SINGLE_BLOB) AS f;`

/** Answer of {@link LOADED_BYTES}: one row. */
export interface LoadedBytesRow {
  readonly bytes: string | null
}

export const LOADED_BYTES = 'SELECT CAST(DATALENGTH(r.data) AS varchar(20)) AS bytes FROM #taskflow_read_back AS r;'

/** Answer of {@link LOADED_PIECE}: one row. */
export interface LoadedPieceRow {
  readonly piece: Buffer
}

/** `@count` bytes from the `@from`th on; the first is 1. */
export const LOADED_PIECE = 'SELECT SUBSTRING(r.data, @from, @count) AS piece FROM #taskflow_read_back AS r;'

export const UNLOAD_STATEMENT = 'DROP TABLE #taskflow_read_back;'
