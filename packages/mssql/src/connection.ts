import sql, { type config as MssqlConfig } from 'mssql'

/** Where the server is and who we are there. A function, so that nothing that prints options ever prints a password. */
export interface ConnectionSource {
  /** A fresh config for a pool of exactly one connection, to the database `master`. */
  readonly config: () => MssqlConfig
  /** The server, for people. */
  readonly where: string
  /** Takes passwords and the like out of a text. */
  readonly redact: (text: string) => string
}

/** Longer than any backup: a connection that is idle while its bytes are read is not closed. */
const NEVER_MS = 2_147_483_647

/** Checks `connection` and adds what is wrong with it to `problems`, without repeating any of it. */
export function toConnectionSource(given: unknown, problems: string[]): ConnectionSource {
  const settings = readSettings(given)
  if (typeof settings?.server !== 'string' || settings.server === '') {
    problems.push('connection: must be a config, a connection string or a pool of the package mssql, with a server')
    return { config: () => ({ server: '' }), where: '', redact: (text) => text }
  }
  const copy = { ...settings, options: { ...settings.options } }
  const secrets = [...secretsOf(copy), ...(typeof given === 'string' ? [given] : [])].sort(
    (a, b) => b.length - a.length, // one secret may be part of another
  )
  const { server, port, options } = copy
  return {
    config: () => ownConfig(copy),
    where: `${server}${options.instanceName ? `\\${options.instanceName}` : port ? `:${port}` : ''}`,
    redact: (text) => secrets.reduce((left, secret) => left.replaceAll(secret, '***'), text),
  }
}

function readSettings(given: unknown): MssqlConfig | undefined {
  if (typeof given === 'string') {
    try {
      return sql.ConnectionPool.parseConnectionString(given) as MssqlConfig
    } catch {
      return undefined // its message may hold the string
    }
  }
  if (typeof given !== 'object' || given === null) return undefined
  // A pool has its settings in `config`; the types do not say so.
  const { config } = given as { config?: unknown }
  return (typeof config === 'object' && config !== null ? config : given) as MssqlConfig
}

/** The user's settings, with what a session of ours needs put over them. */
function ownConfig(settings: MssqlConfig): MssqlConfig {
  const { stream: _s, arrayRowMode: _a, parseJSON: _p, ...rest } = settings
  return {
    ...rest,
    database: 'master',
    requestTimeout: 0,
    validateConnection: false, // a connection that is gone must not be replaced by another one
    pool: { max: 1, min: 0, idleTimeoutMillis: NEVER_MS },
    options: {
      ...settings.options,
      database: 'master',
      requestTimeout: 0,
      appName: 'taskflow-backup',
      language: 'us_english',
      useUTC: true,
      camelCaseColumns: false,
      enableImplicitTransactions: false, // BACKUP is not allowed in a transaction
    },
  }
}

function secretsOf(settings: MssqlConfig): string[] {
  const named = settings as unknown as { readonly [key: string]: unknown }
  const { options = {} } = (settings.authentication ?? {}) as { options?: { readonly [key: string]: unknown } }
  return [named, options]
    .flatMap((from) => ['password', 'clientSecret', 'token', 'msiSecret'].map((name) => from[name]))
    .filter((secret): secret is string => typeof secret === 'string' && secret !== '')
}
