import { BackupError } from '@taskflow-backup/core'
import type { SqlSession } from '../session.ts'
import { deleteFileStatement } from '../statements/database.ts'
import { FILE_EXISTS, FILE_EXISTS_2016, type FileExistsRow } from '../statements/queries/files.ts'

/** What the server sees at a path. Undefined when the login may not ask. */
export async function lookOnServer(session: SqlSession, path: string): Promise<FileExistsRow | undefined> {
  for (const query of [FILE_EXISTS, FILE_EXISTS_2016]) {
    try {
      const [row] = await session.rows<FileExistsRow>(query, { path })
      // The older way says no to everything when the login may not ask.
      if (row && (query === FILE_EXISTS || row.fileExists || row.isDirectory || row.parentExists)) return row
    } catch (error) {
      if (session.broken || (error instanceof BackupError && error.code === 'ABORTED')) throw error
    }
  }
  return undefined
}

/**
 * Lets the server delete a backup file. Harmless when there is none.
 *
 * @throws the server's reason when the file is still there, or when that cannot be told
 */
export async function deleteOnServer(session: SqlSession, path: string): Promise<void> {
  let failure: unknown
  for (const using of ['xp_delete_file', 'xp_delete_files'] as const) {
    try {
      await session.run(deleteFileStatement(path, using))
      failure = undefined
    } catch (error) {
      failure ??= error
    }
    // The first one says nothing when it leaves a file alone that does not begin as a backup.
    const seen = await lookOnServer(session, path)
    if (seen ? !seen.fileExists : failure === undefined) return
  }
  throw (
    failure ?? new BackupError('STORAGE_FAILED', `The server did not delete ${path}.`, { hint: 'Delete it by hand.' })
  )
}

/**
 * Whether the login may let the server delete files, tried on one that is not there.
 *
 * @throws `PRIVILEGE_MISSING`
 */
export async function assertMayDelete(session: SqlSession, path: string): Promise<void> {
  try {
    await session.run(deleteFileStatement(path))
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'PRIVILEGE_MISSING') return // there is nothing to delete
    throw new BackupError(
      'PRIVILEGE_MISSING',
      `The login may not remove backup files on the server: ${error.message}`,
      {
        cause: error,
        hint: 'Make the login a member of sysadmin, which xp_delete_file asks for, or use the transfer "shared-folder".',
      },
    )
  }
}
