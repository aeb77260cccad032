import { BackupError } from '@taskflow-backup/core'
import type { SqlSession } from './session.ts'
import { type AppLockRow, type AppLockTestRow, TAKE_APP_LOCK, TEST_APP_LOCK } from './statements/queries/server.ts'
import { lockNameOf } from './transfer/names.ts'

/** Shows others that this work lives, and that its files and databases are not left-overs: for as long as the session lives. */
export async function lockWork(session: SqlSession, workId: string): Promise<void> {
  const [row] = await session.rows<AppLockRow>(TAKE_APP_LOCK, { resource: lockNameOf(workId) })
  if (!row || row.result < 0)
    throw new BackupError('SERVER_FAILED', `The server did not give the lock ${lockNameOf(workId)} (${row?.result}).`)
}

/** Whether the work has ended, however it did. Not true of the session's own. */
export async function isWorkDead(session: SqlSession, workId: string): Promise<boolean> {
  const [row] = await session.rows<AppLockTestRow>(TEST_APP_LOCK, { resource: lockNameOf(workId) })
  return row?.isFree === true
}
