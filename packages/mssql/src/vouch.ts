import { type AdapterContext, BackupError } from '@taskflow-backup/core'
import type { ScannedFile } from './jobs.ts'
import type { CheckedOptions } from './options.ts'
import type { ServerFacts } from './server-facts.ts'
import type { SqlSession } from './session.ts'
import { FILE_BYTES, type FileBytesRow } from './statements/queries/files.ts'
import { headerStatement, verifyStatement } from './statements/restore.ts'
import type { Delivery } from './transfer/delivery.ts'

/** A member that our reader of backup files could make nothing of, and why. */
export interface UnreadMember {
  readonly member: string
  readonly reason: string
}

/** Up to SQL Server 2016 the reader has been proven on real files: what it cannot read of these is damaged. */
const LAST_PROVEN_MAJOR = 13

/** A backup that was made, and what the reader said of its files. */
export interface Doubts {
  readonly options: CheckedOptions
  readonly id: string
  readonly server: ServerFacts
  readonly delivery: Delivery
  readonly scanned: readonly ScannedFile[]
}

/**
 * Asks the server about files that our reader does not understand, because a server that came later may write them
 * another way: whether it can read them to their end, whether they are this backup, and whether each is as long as what
 * came here.
 *
 * @throws `MEMBER_DAMAGED` unless the server vouches for all of it
 */
export async function vouchForUnread(
  session: SqlSession,
  { options, id, server, delivery, scanned }: Doubts,
  ctx: AdapterContext,
): Promise<readonly UnreadMember[]> {
  const unread = scanned.flatMap(({ name, unread: reason }) => (reason === undefined ? [] : [{ member: name, reason }]))
  const [first] = unread
  if (!first) return []
  if (server.major <= LAST_PROVEN_MAJOR) throw new BackupError('MEMBER_DAMAGED', first.reason)
  const { devices } = delivery
  try {
    for (const [index, { bytes }] of scanned.entries()) await assertLength(session, devices[index]?.path ?? '', bytes)
    const names = await session.rows<{ BackupName: string | null }>(headerStatement(devices))
    if (names.length !== 1 || names[0]?.BackupName !== id)
      throw new BackupError('MEMBER_DAMAGED', 'The server says that it holds another backup.')
    await session.run(verifyStatement(devices), {
      signal: ctx.signal,
      inactivityMs: options.inactivityTimeoutMs,
    })
  } catch (error) {
    if (!(error instanceof BackupError) || error.code === 'ABORTED') throw error
    throw new BackupError('MEMBER_DAMAGED', `${first.reason} The server does not vouch for it: ${error.message}`, {
      cause: error,
      ...(error.hint !== undefined && { hint: error.hint }),
    })
  }
  ctx.onWarning(
    `${first.reason} The server verified it, and it has the length that it has there: it may be of a version that our reader does not know. Let verifyBackup restore it.`,
  )
  return unread
}

/** A file that is cut short on its way here is whole for the server. */
async function assertLength(session: SqlSession, path: string, bytes: number): Promise<void> {
  const cut = Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1
  let row: FileBytesRow | undefined
  try {
    ;[row] = await session.rows<FileBytesRow>(FILE_BYTES, { directory: path.slice(0, cut), name: path.slice(cut) })
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'PRIVILEGE_MISSING') throw error
    throw new BackupError('PRIVILEGE_MISSING', 'The login may not see how long the file is there.', {
      cause: error,
      hint: 'GRANT VIEW SERVER STATE TO the login, in master.',
    })
  }
  if (row?.bytes === String(bytes)) return
  throw new BackupError('MEMBER_DAMAGED', `It has ${row?.bytes ?? 'no'} bytes there, and ${bytes} came here.`)
}
