import { BackupError, throwIfAborted, toBackupError } from '@taskflow-backup/core'
import pg from 'pg'
import { parse as parseUrl } from 'pg-connection-string'
import { toConnectionError } from './errors.ts'

/** Certificates for TLS, as texts in PEM, not as paths. */
export interface PostgresTls {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** Name to expect in the server's certificate. Default: `host`. */
  readonly servername?: string
  /** False takes any certificate: encrypted, but open to a man in the middle. Default: true. */
  readonly rejectUnauthorized?: boolean
}

/** Where the server is and who we are there. What is absent comes from `PGHOST` and its like, else libpq's defaults. */
export interface PostgresConnection {
  /** Name, address, or the folder of a Unix socket. */
  readonly host?: string
  readonly port?: number
  readonly database?: string
  readonly user?: string
  /** A function is called for each connection: for passwords that change. */
  readonly password?: string | (() => string | Promise<string>)
  readonly tls?: boolean | PostgresTls
  /** Default: 10,000. */
  readonly connectTimeoutMs?: number
}

/** A {@link PostgresConnection} with everything filled in. Plain data; holds the password, so it is never shown. */
export interface ConnectionSettings {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: string
  readonly tls: false | PostgresTls
  readonly connectTimeoutMs: number
  /** Settings of the session, as `PGOPTIONS` has them. */
  readonly options?: string
}

/** Makes settings of a URL or an object, and asks for the password. */
export async function resolveConnection(connection: string | PostgresConnection): Promise<ConnectionSettings> {
  const given = typeof connection === 'string' ? fromUrl(connection) : connection
  const { env } = process
  const user = given.user ?? env.PGUSER ?? env.USER ?? 'postgres'
  const password = typeof given.password === 'function' ? await given.password() : (given.password ?? env.PGPASSWORD)
  return {
    host: given.host ?? env.PGHOST ?? 'localhost',
    port: given.port ?? Number(env.PGPORT ?? 5432),
    database: given.database ?? env.PGDATABASE ?? user,
    user,
    ...(password !== undefined && { password }),
    tls: given.tls === true ? {} : (given.tls ?? false),
    connectTimeoutMs: given.connectTimeoutMs ?? 10_000,
  }
}

/** @throws `OPTIONS_INVALID`; the message never repeats the URL, which may hold a password */
export function fromUrl(url: string): PostgresConnection {
  let parsed: ReturnType<typeof parseUrl>
  try {
    parsed = parseUrl(url)
  } catch {
    throw new BackupError('OPTIONS_INVALID', 'connection: is no PostgreSQL URL (postgres://user@host:5432/database).')
  }
  const { ssl } = parsed
  return {
    ...(parsed.host && { host: parsed.host }),
    ...(parsed.port && { port: Number(parsed.port) }),
    ...(parsed.database && { database: parsed.database }),
    ...(parsed.user && { user: parsed.user }),
    ...(parsed.password && { password: parsed.password }),
    ...(ssl !== undefined && { tls: typeof ssl === 'object' ? (ssl as PostgresTls) : ssl === true || ssl === 'true' }),
  }
}

/** What `pg` takes. */
export function toClientConfig(settings: ConnectionSettings): pg.ClientConfig {
  const { tls, connectTimeoutMs, ...rest } = settings
  return {
    ...rest,
    ssl: tls,
    application_name: 'taskflow-backup',
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
  }
}

/**
 * Opens a session, hands it to `work`, and ends it whatever happens.
 *
 * @throws the codes of `toConnectionError`, `ABORTED`
 */
export async function withSession<T>(
  settings: ConnectionSettings,
  work: (client: pg.Client) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  throwIfAborted(signal)
  const client = new pg.Client(toClientConfig(settings))
  client.on('error', () => {}) // a lost connection fails the query that runs, which is enough
  const stop = (): void => void client.end().catch(() => {})
  signal?.addEventListener('abort', stop, { once: true })
  try {
    await client.connect()
  } catch (error) {
    signal?.removeEventListener('abort', stop)
    await client.end().catch(() => {})
    throwIfAborted(signal)
    throw toConnectionError(error, settings)
  }
  try {
    return await work(client)
  } catch (error) {
    throwIfAborted(signal)
    throw toBackupError(toConnectionError(error, settings), 'SERVER_FAILED', 'The server failed')
  } finally {
    signal?.removeEventListener('abort', stop)
    await client.end().catch(() => {})
  }
}
