import { BackupError } from '@taskflow-backup/core'
import { serverErrorsOf } from '../errors.ts'
import type { SqlSession } from '../session.ts'
import { OWN_FILES, type OwnFileRow } from '../statements/queries/files.ts'
import { headerStatement } from '../statements/restore.ts'
import { isWorkDead } from '../work-lock.ts'
import { keptWorkIdOf, onServer, workIdOf } from './names.ts'
import type { Transfer } from './options.ts'

/** Old enough to belong to nobody, also when another server uses the same folder: its locks are not here. */
const OLD_SECONDS = 3600
/** "Invalid object name": a server before 2017. */
const NO_SUCH_OBJECT = 208
/** What RESTORE HEADERONLY calls a backup that has no end. */
const INCOMPLETE = '*** INCOMPLETE ***'
/** Not, or not wholly, a backup. Others, like a stripe that is missing or a disk that fails, do not show that. */
const NO_BACKUP = [3241, 3242, 3243]
const READ_FAILED = 3203
const END_OF_FILE = /\b38\s?\(/

/**
 * Paths of what killed backups left in the server's own folder: temporary files, and files of backups that were to stay
 * there but never came to their end. One that is whole may be in a manifest somewhere, and is never among them.
 *
 * Nothing where the server cannot list its folders, or the login may not.
 */
export async function serverLeftovers(session: SqlSession, transfer: Transfer): Promise<string[]> {
  if (transfer.type !== 'read-back' && transfer.type !== 'on-server') return []
  const left: string[] = []
  for (const { name, ageSeconds } of await listOwn(session, onServer(transfer.serverDirectory, ''))) {
    const temporaryId = workIdOf(name)
    const workId = temporaryId ?? keptWorkIdOf(name)
    if (workId === undefined || !(Number(ageSeconds) >= OLD_SECONDS) || !(await isWorkDead(session, workId))) continue
    const path = onServer(transfer.serverDirectory, name)
    if (temporaryId !== undefined || (await isUnfinished(session, path))) left.push(path)
  }
  return left
}

async function listOwn(session: SqlSession, directory: string): Promise<OwnFileRow[]> {
  try {
    return await session.rows<OwnFileRow>(OWN_FILES, { directory })
  } catch (error) {
    const isOld = serverErrorsOf(error).some(({ number }) => number === NO_SUCH_OBJECT)
    if (isOld || (error instanceof BackupError && error.code === 'PRIVILEGE_MISSING')) return []
    throw error
  }
}

/** Whether the server itself says that there is no whole backup in it. */
async function isUnfinished(session: SqlSession, path: string): Promise<boolean> {
  try {
    const sets = await session.rows<{ BackupName: string | null }>(headerStatement([{ type: 'disk', path }]))
    return sets.length === 0 || sets.some(({ BackupName }) => BackupName === INCOMPLETE)
  } catch (error) {
    for (const { number, message } of serverErrorsOf(error))
      if (NO_BACKUP.includes(number) || (number === READ_FAILED && END_OF_FILE.test(message))) return true
    if (session.broken || (error instanceof BackupError && error.code === 'ABORTED')) throw error
    return false
  }
}
