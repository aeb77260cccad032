import { abortError, type BackupError, throwIfAborted, toBackupError } from '@taskflow-backup/core'
import pg from 'pg'
import { type ConnectionSettings, toClientConfig, withSession } from '../connection.ts'
import { toConnectionError } from '../errors.ts'

/** A session on a database whose statements end when the work is aborted. */
export interface Session {
  readonly settings: ConnectionSettings
  rows<Row extends pg.QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>
  close(): Promise<void>
}

/**
 * Opens a session. An aborted `signal` ends it on the server as well, which would otherwise go on with its statement.
 *
 * @throws `ABORTED` and the codes of `toConnectionError`, also from every statement
 */
export async function openSession(settings: ConnectionSettings, signal: AbortSignal): Promise<Session> {
  throwIfAborted(signal)
  const client = new pg.Client(toClientConfig(settings))
  client.on('error', () => {}) // a lost connection fails the statement that runs, or the next
  const failure = (error: unknown): BackupError =>
    signal.aborted
      ? abortError(signal)
      : toBackupError(toConnectionError(error, settings), 'SERVER_FAILED', 'The server failed')
  let busy = false
  const onAbort = (): void => {
    const pid = (client as unknown as { readonly processID: number | null }).processID
    const over = (): void => void client.end().catch(() => {})
    if (!busy || pid === null) over()
    else withSession(settings, (other) => other.query('SELECT pg_terminate_backend($1)', [pid])).then(over, over)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  const close = async (): Promise<void> => {
    signal.removeEventListener('abort', onAbort)
    await client.end().catch(() => {})
  }
  try {
    await client.connect()
  } catch (error) {
    await close()
    throw failure(error)
  }
  return {
    settings,
    async rows<Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
      throwIfAborted(signal)
      busy = true
      try {
        return (await client.query<Row>(text, [...values])).rows
      } catch (error) {
        throw failure(error)
      } finally {
        busy = false
      }
    },
    close,
  }
}

/** Opens a session, hands it to `work`, and ends it whatever happens. */
export async function inSession<T>(
  settings: ConnectionSettings,
  signal: AbortSignal,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(settings, signal)
  try {
    return await work(session)
  } finally {
    await session.close()
  }
}

/** A database that can be connected to while none of `avoided` may be: they are made, renamed and dropped. */
export async function inMaintenance<T>(
  settings: ConnectionSettings,
  avoided: readonly string[],
  signal: AbortSignal,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openMaintenance(settings, avoided, signal)
  try {
    return await work(session)
  } finally {
    await session.close()
  }
}

async function openMaintenance(
  settings: ConnectionSettings,
  avoided: readonly string[],
  signal: AbortSignal,
): Promise<Session> {
  const names = ['postgres', settings.database, 'template1'].filter((name) => !avoided.includes(name))
  let first: unknown
  for (const database of names) {
    try {
      return await openSession({ ...settings, database }, signal)
    } catch (error) {
      throwIfAborted(signal)
      first ??= error
      const { code } = error as BackupError
      if (code === 'SERVER_UNREACHABLE' || code === 'SERVER_BUSY') throw error
    }
  }
  throw first
}
