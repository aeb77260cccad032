import { abortError, BackupError, throwIfAborted } from '@taskflow-backup/core'
import sql, { type Connection, type Request } from 'mssql'
import { type ServerMessage, toServerError } from './errors.ts'
import type { CheckedOptions } from './options.ts'

/** A value of a query's parameter; a name in the query is `@name`. */
export type QueryValue = string | number | boolean | Date | null

/** How a statement is run. */
export interface RunOptions {
  /** Ends the statement on the server. Without it, it runs to its end: what puts a database right must not stop halfway. */
  readonly signal?: AbortSignal
  /** Told whenever the server says how far a BACKUP or RESTORE is. */
  readonly onPercent?: (percent: number) => void
  /** Longest time, in milliseconds, in which the server says nothing. Default: any. */
  readonly inactivityMs?: number
}

/**
 * One connection to the server. Temporary tables, application locks and a database in single-user mode belong to it, so
 * it is never replaced by another one: when it is gone, everything fails.
 */
export interface SqlSession {
  /** Runs a query. It is ended when the session's signal is aborted meanwhile; one that begins after that still runs. */
  rows<T>(query: string, params?: Readonly<Record<string, QueryValue>>): Promise<T[]>
  /** Runs a statement to its end and returns what the server said on the way. */
  run(statement: string, options?: RunOptions): Promise<readonly ServerMessage[]>
  /** True when the connection is gone. */
  readonly broken: boolean
  close(): Promise<void>
}

/** A query is short: it reads what the server knows. */
const QUERY_TIMEOUT_MS = 60_000
/** Into so many steps the longest time is cut in which the server says nothing. */
const SILENT_STEPS = 20
/** "10 percent processed." */
const PERCENT = 3211

type Options = Pick<CheckedOptions, 'connection'>

/**
 * Connects to `master`. Aborting `signal` ends the attempt.
 *
 * @throws the codes of `toServerError`, `ABORTED`
 */
export async function openSession({ connection }: Options, signal: AbortSignal): Promise<SqlSession> {
  throwIfAborted(signal)
  const what = `SQL Server ${connection.where}`
  const config = connection.config()
  const made: Connection[] = []
  let broken = false
  // A pool connects once to try its settings, then once for its first request. It never gets a third one.
  const beforeConnect = (tedious: Connection): void => {
    tedious.on('error', () => {}) // also told to the request that runs
    if (made.push(tedious) > 2) {
      tedious.close()
      throw new BackupError('SERVER_UNREACHABLE', `${what}: The connection was lost.`, { retryable: true })
    }
    if (made.length === 2) tedious.on('end', () => (broken = true))
    if (signal.aborted) tedious.close()
    config.beforeConnect?.(tedious)
  }
  const drop = (): void => {
    for (const tedious of made) tedious.close()
  }
  const pool = new sql.ConnectionPool({ ...config, beforeConnect }).on('error', () => {})
  const close = async (): Promise<void> => {
    broken = true
    drop() // else the pool waits for a request that hangs
    await pool.close().catch(() => {})
  }
  const failure = (thrown: unknown, doing: string = what): BackupError =>
    toServerError(thrown, doing, connection.redact)
  signal.addEventListener('abort', drop, { once: true })
  try {
    await pool.connect()
    await pool.request().query('SELECT 1;') // the session's own connection is made for it
  } catch (error) {
    await close()
    throwIfAborted(signal)
    throw failure(error)
  } finally {
    signal.removeEventListener('abort', drop)
  }

  const assertAlive = (): void => {
    if (broken) throw new BackupError('SERVER_UNREACHABLE', `${what}: The connection was lost.`, { retryable: true })
  }
  return {
    get broken() {
      return broken
    },
    close,
    async rows<T>(query: string, params: Readonly<Record<string, QueryValue>> = {}): Promise<T[]> {
      assertAlive()
      const request = newRequest(pool, QUERY_TIMEOUT_MS)
      for (const [name, value] of Object.entries(params)) addInput(request, name, value)
      const cancel = (): void => void request.cancel()
      const abortable = !signal.aborted
      if (abortable) signal.addEventListener('abort', cancel, { once: true })
      try {
        const { recordset } = await request.query<T>(query)
        return recordset ?? []
      } catch (error) {
        if (abortable) throwIfAborted(signal)
        throw failure(error)
      } finally {
        signal.removeEventListener('abort', cancel)
      }
    },
    async run(statement, options = {}) {
      assertAlive()
      throwIfAborted(options.signal)
      return runStatement(newRequest(pool, 0), statement, options, failure)
    },
  }
}

/** Opens a session, hands it to `work`, and closes it whatever happens. */
export async function inSession<T>(
  options: Options,
  signal: AbortSignal,
  work: (session: SqlSession) => Promise<T>,
): Promise<T> {
  const session = await openSession(options, signal)
  try {
    return await work(session)
  } finally {
    await session.close()
  }
}

async function runStatement(
  request: Request,
  statement: string,
  { signal, onPercent, inactivityMs }: RunOptions,
  failure: (thrown: unknown, doing?: string) => BackupError,
): Promise<readonly ServerMessage[]> {
  const messages: ServerMessage[] = []
  let silent = false
  const cancel = (): void => void request.cancel()
  // Counted in steps: while this process itself stands still no step passes, and what the server said waits unread.
  let silentSteps = 0
  const listen = (): void => {
    if (++silentSteps < SILENT_STEPS) return
    silent = true
    cancel()
  }
  const timer = inactivityMs === undefined ? undefined : setInterval(listen, inactivityMs / SILENT_STEPS)
  request.on('info', ({ number, message }: ServerMessage) => {
    silentSteps = 0
    messages.push({ number, message })
    const percent = number === PERCENT ? /\d+/.exec(message)?.[0] : undefined
    if (percent !== undefined) onPercent?.(Number(percent))
  })
  signal?.addEventListener('abort', cancel, { once: true })
  try {
    // All result sets are read to their end: a server whose client stops reading gives the backup up.
    await request.batch(statement)
    return messages
  } catch (error) {
    if (signal?.aborted) throw abortError(signal)
    const doing = firstWords(statement)
    if (silent) {
      const message = `${doing}: The server said nothing for ${inactivityMs} ms, so it was ended.`
      throw new BackupError('SERVER_UNREACHABLE', message, { retryable: true, hint: SILENT_HINT })
    }
    throw failure(error, doing)
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', cancel)
  }
}

const SILENT_HINT =
  'Look at the disk and the log of the server; a very large database may need a longer `inactivityTimeoutMs`.'

/** A statement about a database, as far as its name. */
const ABOUT_DATABASE = /^(?:BACKUP|RESTORE|ALTER|DROP|DBCC) [A-Z]+ \(?\[(?:[^\]]|\]\])*\]\)?/
const MOST_CHARACTERS = 160

/** `BACKUP DATABASE [app]`: enough to know what failed. */
function firstWords(statement: string): string {
  const [about] = ABOUT_DATABASE.exec(statement) ?? []
  const [line = ''] = statement.trim().split('\n')
  return about ?? (line.length <= MOST_CHARACTERS ? line : `${line.slice(0, MOST_CHARACTERS)}…`)
}

function newRequest(pool: InstanceType<typeof sql.ConnectionPool>, requestTimeout: number): Request {
  // The types do not know the override.
  return (pool as unknown as { request(overrides: { requestTimeout: number }): Request }).request({ requestTimeout })
}

function addInput(request: Request, name: string, value: QueryValue): void {
  if (value === null || typeof value === 'string') request.input(name, sql.NVarChar, value)
  else if (typeof value === 'boolean') request.input(name, sql.Bit, value)
  else if (typeof value === 'number') request.input(name, sql.BigInt, value)
  else request.input(name, sql.DateTimeOffset, value)
}
