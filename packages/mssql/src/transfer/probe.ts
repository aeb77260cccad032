import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AdapterContext, BackupError, type ErrorCode } from '@taskflow-backup/core'
import type { SqlSession } from '../session.ts'
import { onServer, temporaryName, WORK_ID_LENGTH } from './names.ts'
import type { SharedFolder } from './options.ts'
import { lookOnServer } from './server-files.ts'

const CODES: { readonly [errno: string]: ErrorCode } = {
  EACCES: 'STORAGE_DENIED',
  EPERM: 'STORAGE_DENIED',
  EROFS: 'STORAGE_READ_ONLY',
  ENOSPC: 'STORAGE_FULL',
  EDQUOT: 'STORAGE_FULL',
}
const HINTS: { readonly [code: string]: string } = {
  STORAGE_DENIED: 'Let the user of this process write in `localDirectory`: it removes what the server wrote there.',
  STORAGE_READ_ONLY: 'Mount the shared folder writable: what the server writes is removed again.',
  STORAGE_FULL: 'Free space in the shared folder.',
  SERVER_SETTING: 'Make the folder, or correct `localDirectory`.',
}

/**
 * Writes a file into the shared folder and asks the server whether it sees it.
 *
 * @throws `SERVER_SETTING` when the two are not the same folder, `STORAGE_DENIED`, `STORAGE_READ_ONLY`, `STORAGE_FULL`
 */
export async function probeFolder(
  session: SqlSession,
  { serverDirectory, localDirectory }: SharedFolder,
  ctx: AdapterContext,
): Promise<void> {
  const name = temporaryName(ctx.randomId(WORK_ID_LENGTH), 'probe')
  const file = join(localDirectory, name)
  try {
    await writeFile(file, 'Shows that a folder is shared. May be deleted.\n', { flag: 'wx', mode: 0o644 })
  } catch (thrown) {
    const code = CODES[(thrown as NodeJS.ErrnoException).code ?? ''] ?? 'SERVER_SETTING'
    const hint = HINTS[code]
    throw new BackupError(
      code,
      `Cannot write into \`localDirectory\` ${localDirectory}: ${(thrown as Error).message}`,
      {
        cause: thrown,
        ...(hint !== undefined && { hint }),
      },
    )
  }
  try {
    const path = onServer(serverDirectory, name)
    const seen = await lookOnServer(session, path)
    if (seen && !seen.fileExists) throw notShared(serverDirectory, localDirectory, seen.parentExists)
  } finally {
    await rm(file, { force: true })
  }
}

/** In bytes, for whoever is not root. */
export async function roomInFolder(localDirectory: string): Promise<number> {
  const { bavail, bsize } = await statfs(localDirectory)
  return bavail * bsize
}

function notShared(serverDirectory: string, localDirectory: string, exists: boolean): BackupError {
  const why = exists ? 'is another folder' : 'does not exist for the server, or is closed to its service account'
  return new BackupError(
    'SERVER_SETTING',
    `A file in \`localDirectory\` ${localDirectory} is not seen by the server in \`serverDirectory\` ${serverDirectory}, which ${why}.`,
    { hint: 'Share one folder between both, and let the service account of SQL Server read and write there.' },
  )
}
