import { isAbsolute, resolve } from 'node:path'
import { BackupError } from '@taskflow-backup/core'
import { fromUrl, type PostgresConnection } from './connection.ts'

/** Dumps of one database with `pg_dump`: on every server, managed ones included. */
export interface LogicalOptions {
  /**
   * `custom`: one file for `pg_restore`. `directory`: the same, read by several connections at once, stored as a tar.
   * `plain`: SQL for `psql`. Default: `custom`.
   */
  readonly format?: 'custom' | 'directory' | 'plain'
  /** Connections at a time, for the format `directory` and for restores. Default: 2. */
  readonly jobs?: number
  /** Only these schemas, by name. Default: all. */
  readonly schemas?: readonly string[]
  /** Only these tables, `schema.table`. Default: all. */
  readonly tables?: readonly string[]
  /** Not these tables, `schema.table`. Default: none. */
  readonly excludeTables?: readonly string[]
  /**
   * Roles and tablespaces of the whole server as a member of its own, without passwords unless `withPasswords`. A role
   * that is not a superuser can read them without passwords only. Default: `without-passwords`.
   */
  readonly globals?: 'none' | 'without-passwords' | 'with-passwords'
}

/** Copies of the whole cluster over the replication protocol, and its write-ahead log. */
export interface PhysicalOptions {
  /**
   * Name of the replication slot that keeps the server's log until it is backed up. With it there are log backups and
   * recovery to a point in time. Default: none.
   */
  readonly slot?: string
  /** `spread` lets the server write its checkpoint slowly, so that a backup begins later. Default: `fast`. */
  readonly checkpoint?: 'fast' | 'spread'
  /** Limit for the server's sending, in KiB a second, 32 to 1,048,576. Default: none. */
  readonly maxRateKb?: number
  /** Let the server compress what it sends: less to transfer, more work for the server. Default: `none`. */
  readonly serverCompression?: 'none' | 'zstd' | 'gzip'
  /** Data directory of the live server on this machine: what a restore without `to` replaces while the server is stopped. */
  readonly dataDirectory?: string
  /**
   * Folder with the programs of PostgreSQL (`postgres`), of the server's major version, to start a restored cluster for
   * recovery and checks. Default: `PATH` and the usual places are searched when one is needed.
   */
  readonly serverPrograms?: string
  /** User and group that run a restored cluster, when this process is root: PostgreSQL refuses to run as root. */
  readonly runAs?: { readonly uid: number; readonly gid: number }
  /** How long a restored cluster may take to recover, in milliseconds. Default: one hour. */
  readonly recoveryTimeoutMs?: number
}

/** What {@link postgres} takes. */
export interface PostgresOptions {
  /** A URL (`postgres://user@host:5432/database`) or its parts. */
  readonly connection: string | PostgresConnection
  /** `logical` works everywhere; `physical` gives differential and log backups and any second. Default: `logical`. */
  readonly mode?: 'logical' | 'physical'
  readonly logical?: LogicalOptions
  readonly physical?: PhysicalOptions
  /** Folder with `pg_dump`, `pg_dumpall`, `pg_restore` and `psql`. Default: from `PATH`, and the usual places. */
  readonly clientPrograms?: string
}

/** Options with all defaults. */
export interface CheckedOptions {
  readonly connection: PostgresConnection
  readonly mode: 'logical' | 'physical'
  readonly logical: Required<LogicalOptions>
  readonly physical: PhysicalOptions &
    Required<Pick<PhysicalOptions, 'checkpoint' | 'serverCompression' | 'recoveryTimeoutMs'>>
  readonly clientPrograms?: string
}

const KNOWN = ['connection', 'mode', 'logical', 'physical', 'clientPrograms']
const KNOWN_LOGICAL = ['format', 'jobs', 'schemas', 'tables', 'excludeTables', 'globals']
const KNOWN_PHYSICAL = [
  'slot',
  'checkpoint',
  'maxRateKb',
  'serverCompression',
  'dataDirectory',
  'serverPrograms',
  'runAs',
  'recoveryTimeoutMs',
]
const KNOWN_CONNECTION = ['host', 'port', 'database', 'user', 'password', 'tls', 'connectTimeoutMs']

/**
 * Fills in defaults and makes paths absolute.
 *
 * @throws `OPTIONS_INVALID` naming every bad option
 */
export function checkOptions(options: PostgresOptions): CheckedOptions {
  const problems: string[] = []
  const given: Partial<PostgresOptions> = options ?? {}
  const connection = checkConnection(given.connection, problems)
  const { mode = 'logical' } = given
  if (mode !== 'logical' && mode !== 'physical') problems.push('mode: must be "logical" or "physical"')
  const logical: Required<LogicalOptions> = {
    format: 'custom',
    jobs: 2,
    schemas: [],
    tables: [],
    excludeTables: [],
    globals: 'without-passwords',
    ...given.logical,
  }
  if (!['custom', 'directory', 'plain'].includes(logical.format))
    problems.push('logical.format: must be "custom", "directory" or "plain"')
  if (!Number.isInteger(logical.jobs) || logical.jobs < 1 || logical.jobs > 64)
    problems.push('logical.jobs: must be 1 to 64')
  for (const name of ['schemas', 'tables', 'excludeTables'] as const) {
    const list: unknown = logical[name]
    if (!Array.isArray(list) || !list.every((one) => typeof one === 'string' && one !== '' && !one.includes('\0')))
      problems.push(`logical.${name}: must be a list of names`)
  }
  if (!['none', 'without-passwords', 'with-passwords'].includes(logical.globals))
    problems.push('logical.globals: must be "none", "without-passwords" or "with-passwords"')
  const physical = {
    checkpoint: 'fast',
    serverCompression: 'none',
    recoveryTimeoutMs: 3_600_000,
    ...given.physical,
  } as const
  if (physical.slot !== undefined && !/^[a-z0-9_]{1,63}$/.test(physical.slot))
    problems.push('physical.slot: must be 1 to 63 lower-case letters, digits and underscores')
  if (!['fast', 'spread'].includes(physical.checkpoint))
    problems.push('physical.checkpoint: must be "fast" or "spread"')
  if (!['none', 'zstd', 'gzip'].includes(physical.serverCompression))
    problems.push('physical.serverCompression: must be "none", "zstd" or "gzip"')
  const { maxRateKb, runAs } = physical
  if (maxRateKb !== undefined && !(Number.isInteger(maxRateKb) && maxRateKb >= 32 && maxRateKb <= 1_048_576))
    problems.push('physical.maxRateKb: must be 32 to 1048576')
  if (runAs !== undefined && !(Number.isInteger(runAs?.uid) && Number.isInteger(runAs?.gid)))
    problems.push('physical.runAs: must have a numeric uid and gid')
  if (!(typeof physical.recoveryTimeoutMs === 'number' && physical.recoveryTimeoutMs > 0))
    problems.push('physical.recoveryTimeoutMs: must be a number of milliseconds')
  for (const name of ['dataDirectory', 'serverPrograms'] as const)
    checkPath(`physical.${name}`, physical[name], problems)
  checkPath('clientPrograms', given.clientPrograms, problems)
  const unknown = [
    ...unknownIn('', given, KNOWN),
    ...unknownIn('logical.', given.logical, KNOWN_LOGICAL),
    ...unknownIn('physical.', given.physical, KNOWN_PHYSICAL),
  ]
  problems.push(...unknown)
  if (problems.length > 0) {
    throw new BackupError('OPTIONS_INVALID', `postgres() has bad options: ${problems.join('; ')}.`, {
      details: problems,
    })
  }
  const absolute = <K extends string>(key: K, path: string | undefined) =>
    path === undefined ? {} : { [key]: isAbsolute(path) ? path : resolve(path) }
  return {
    connection,
    mode,
    logical,
    physical: {
      ...physical,
      ...absolute('dataDirectory', physical.dataDirectory),
      ...absolute('serverPrograms', physical.serverPrograms),
    },
    ...absolute('clientPrograms', given.clientPrograms),
  }
}

function checkConnection(given: unknown, problems: string[]): PostgresConnection {
  if (typeof given === 'string') return fromUrl(given)
  if (typeof given !== 'object' || given === null) {
    problems.push('connection: must be a URL or an object')
    return {}
  }
  const connection = given as PostgresConnection
  for (const name of ['host', 'database', 'user'] as const) {
    const value: unknown = connection[name]
    if (value !== undefined && (typeof value !== 'string' || value === '' || value.includes('\0')))
      problems.push(`connection.${name}: must be a text`)
  }
  const { port, password, tls } = connection
  if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65_536))
    problems.push('connection.port: must be 1 to 65535')
  if (password !== undefined && typeof password !== 'string' && typeof password !== 'function')
    problems.push('connection.password: must be a text or a function')
  if (tls !== undefined && typeof tls !== 'boolean' && (typeof tls !== 'object' || tls === null))
    problems.push('connection.tls: must be true, false or an object')
  problems.push(...unknownIn('connection.', connection, KNOWN_CONNECTION))
  return connection
}

function checkPath(name: string, path: unknown, problems: string[]): void {
  if (path !== undefined && (typeof path !== 'string' || path === '' || path.includes('\0')))
    problems.push(`${name}: must be the path of a folder`)
}

const unknownIn = (prefix: string, given: object | undefined, known: readonly string[]): string[] =>
  Object.keys(given ?? {})
    .filter((name) => !known.includes(name))
    .map((name) => `${prefix}${name}: is not an option`)
