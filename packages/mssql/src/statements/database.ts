import { BackupError } from '@taskflow-backup/core'
import { identifier, pathLiteral } from './quote.ts'

/** DBCC CHECKDB; every finding arrives as an error message, no finding as nothing. */
export const checkDatabaseStatement = (
  database: string,
  { physicalOnly = false }: { readonly physicalOnly?: boolean } = {},
): string =>
  `DBCC CHECKDB (${identifier(database)}) WITH NO_INFOMSGS, ALL_ERRORMSGS${physicalOnly ? ', PHYSICAL_ONLY' : ''};`

/** With its files. Fails while somebody uses it. */
export const dropDatabaseStatement = (database: string): string => `DROP DATABASE ${identifier(database)};`

/** Its files keep their names. Fails while somebody else uses it. */
export const renameDatabaseStatement = (from: string, to: string): string =>
  `ALTER DATABASE ${identifier(from)} MODIFY NAME = ${identifier(to)};`

/** How sessions that are in the way are treated: ended, their transactions rolled back; or the statement fails. */
export type Termination = 'rollback' | 'no-wait'

/** Only this session may use it from now on. */
export const singleUserStatement = (database: string, others: Termination): string =>
  `ALTER DATABASE ${identifier(database)} SET SINGLE_USER WITH ${TERMINATION[others]};`

/** Everybody may use it again. `others`: what to do if another session is the single user. Default: fail. */
export const multiUserStatement = (database: string, others: Termination = 'no-wait'): string =>
  `ALTER DATABASE ${identifier(database)} SET MULTI_USER WITH ${TERMINATION[others]};`

/** Only members of db_owner, dbcreator and sysadmin may use it from now on. */
export const restrictedUserStatement = (database: string, others: Termination = 'no-wait'): string =>
  `ALTER DATABASE ${identifier(database)} SET RESTRICTED_USER WITH ${TERMINATION[others]};`

/** This session is in it from now on. */
export const useStatement = (database: string): string => `USE ${identifier(database)};`

/** How the server deletes a file. */
export type FileDeleter = 'xp_delete_file' | 'xp_delete_files'

/**
 * Lets the server delete one file. Both procedures are undocumented.
 *
 * @param using - `xp_delete_file` is in every version, on Linux since 2017; it deletes a file only if it begins as a
 *   backup. `xp_delete_files` (2019, and 2017 from CU18) deletes any file. Default: `xp_delete_file`
 * @throws `OPTIONS_INVALID` for a path with wildcards: these procedures expand them
 */
export function deleteFileStatement(path: string, using: FileDeleter = 'xp_delete_file'): string {
  if (/[*?]/.test(path))
    throw new BackupError(
      'OPTIONS_INVALID',
      `The path ${JSON.stringify(path)} has wildcards; only one file is deleted.`,
    )
  return using === 'xp_delete_file'
    ? `EXECUTE master.sys.xp_delete_file 0, ${pathLiteral(path)};`
    : `EXECUTE master.sys.xp_delete_files ${pathLiteral(path)};`
}

const TERMINATION = { rollback: 'ROLLBACK IMMEDIATE', 'no-wait': 'NO_WAIT' } as const
