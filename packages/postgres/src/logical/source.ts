import { BackupError, type JsonValue, type SourceFacts } from '@taskflow-backup/core'
import type { LogicalOptions } from '../options.ts'
import { parseTableName, quoteIdentifier, quoteLiteral, type TableName } from './names.ts'
import type { Session } from './session.ts'

/** What a dump is of: everything, or some schemas and tables. */
export interface Selection {
  readonly schemas: readonly string[]
  readonly tables: readonly TableName[]
  readonly excludeTables: readonly TableName[]
}

/** How a database was made; what a new one is made like. */
export interface DatabaseShape {
  readonly owner: string
  readonly encoding: string
  readonly collate: string
  readonly ctype: string
  /** `libc`, `icu` or `builtin`. */
  readonly localeProvider: string
  /** Locale of ICU, or of the builtin provider. */
  readonly locale?: string
}

export interface ExtensionFacts {
  readonly name: string
  readonly version: string
  readonly schema: string
}

/** How many objects of each sort there are, without those of extensions and of the system. */
export type ObjectCounts = { readonly [sort: string]: number }

/** What a manifest says about a dumped database, in `source.details`. */
export type LogicalDetails = {
  readonly mode: 'logical'
  readonly format: Required<LogicalOptions>['format']
  readonly serverVersion: string
  readonly clientVersion: string
  /** Set when the dump does not hold the whole database. */
  readonly selection?: {
    readonly schemas: readonly string[]
    readonly tables: readonly string[]
    readonly excludeTables: readonly string[]
  }
  readonly database: DatabaseShape & { readonly [key: string]: JsonValue }
  readonly extensions: readonly (ExtensionFacts & { readonly [key: string]: JsonValue })[]
  /** Roles that own something in it, and roles that were granted something. */
  readonly owners: readonly string[]
  readonly grantees: readonly string[]
  readonly objects: ObjectCounts
  /** Exact numbers of rows of small tables: schema, table, rows. */
  readonly rowCounts: readonly (readonly [string, string, number])[]
}

export type ServerFacts = { readonly version: string; readonly major: number }

/** Conditions for what belongs to the user: not to the system, and not to a session. */
const OF_USER = `n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'`
const notOfExtension = (catalog: string, oid: string): string =>
  `NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '${catalog}'::regclass AND e.objid = ${oid} AND e.deptype = 'e')`

/** Rows of larger tables are not counted: that would read the database a second time. */
const SMALL_TABLE_BYTES = 1024 * 1024
const COUNTED_TABLES = 200
const TABLES_PER_QUERY = 50

export function readSelection(options: LogicalOptions): Selection {
  return {
    schemas: options.schemas ?? [],
    tables: (options.tables ?? []).map(parseTableName),
    excludeTables: (options.excludeTables ?? []).map(parseTableName),
  }
}

export const isPartial = ({ schemas, tables, excludeTables }: Selection): boolean =>
  schemas.length + tables.length + excludeTables.length > 0

/** Schemas of the single tables that were selected. */
export const parseSelectedSchemas = (selection: LogicalDetails['selection']): string[] =>
  (selection?.tables ?? []).map((table) => parseTableName(table).schema)

/** @throws `SERVER_UNSUPPORTED` for a server older than 10 */
export async function readServer(session: Session): Promise<ServerFacts> {
  const [row] = await session.rows<{ version: string; number: string }>(
    `SELECT current_setting('server_version') AS version, current_setting('server_version_num') AS number`,
  )
  const major = Math.floor(Number(row?.number) / 10_000)
  if (major < 10)
    throw new BackupError(
      'SERVER_UNSUPPORTED',
      `PostgreSQL ${row?.version} is too old; logical backups need 10 or newer.`,
    )
  return { version: row?.version as string, major }
}

export async function readSize(session: Session): Promise<number> {
  const [row] = await session.rows<{ size: string }>('SELECT pg_database_size(current_database())::text AS size')
  return Number(row?.size)
}

export async function readShape(session: Session): Promise<DatabaseShape> {
  // The columns differ from version to version: as JSON, what is not there is just not there.
  const [row] = await session.rows<{ d: Record<string, string | number | null>; owner: string; encoding: string }>(
    `SELECT to_jsonb(d) - 'datacl' AS d, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding
     FROM pg_database d WHERE d.datname = current_database()`,
  )
  if (!row) throw new BackupError('SOURCE_MISSING', `There is no database ${session.settings.database} any more.`)
  const { d, owner, encoding } = row
  const locale = d.datlocale ?? d.daticulocale
  return {
    owner,
    encoding,
    collate: String(d.datcollate),
    ctype: String(d.datctype),
    localeProvider: d.datlocprovider === 'i' ? 'icu' : d.datlocprovider === 'b' ? 'builtin' : 'libc',
    ...(typeof locale === 'string' && { locale }),
  }
}

export async function readExtensions(session: Session): Promise<ExtensionFacts[]> {
  return session.rows<{ name: string; version: string; schema: string }>(
    `SELECT x.extname AS name, x.extversion AS version, n.nspname AS schema
     FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE x.extname <> 'plpgsql' ORDER BY 1`,
  )
}

/** Roles that a restore needs. The superuser that the cluster was made with is not in `pg_shdepend`: it is looked for. */
export async function readRoles(session: Session): Promise<{ owners: string[]; grantees: string[] }> {
  const rows = await session.rows<{ name: string; owner: boolean }>(
    `SELECT r.rolname AS name, bool_or(d.owner) AS owner FROM (
       SELECT refobjid AS role, deptype = 'o' AS owner FROM pg_shdepend
       WHERE refclassid = 'pg_authid'::regclass
         AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       UNION ALL SELECT c.relowner, true FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OF_USER}
       UNION ALL SELECT p.proowner, true FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${OF_USER}
       UNION ALL SELECT n.nspowner, true FROM pg_namespace n WHERE ${OF_USER} AND n.nspname <> 'public'
     ) d JOIN pg_roles r ON r.oid = d.role GROUP BY 1 ORDER BY 1`,
  )
  // Predefined roles are on every server.
  const named = rows.filter(({ name }) => !name.startsWith('pg_'))
  return {
    owners: named.filter(({ owner }) => owner).map(({ name }) => name),
    grantees: named.filter(({ owner }) => !owner).map(({ name }) => name),
  }
}

export async function countObjects(session: Session): Promise<ObjectCounts> {
  const rows = await session.rows<{ sort: string; count: number }>(
    `SELECT sort, count(*)::int AS count FROM (
       SELECT CASE c.relkind WHEN 'r' THEN 'tables' WHEN 'p' THEN 'partitioned tables' WHEN 'v' THEN 'views'
         WHEN 'm' THEN 'materialized views' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'foreign tables' END AS sort
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND ${OF_USER}
         AND ${notOfExtension('pg_class', 'c.oid')}
       UNION ALL
       SELECT 'indexes' FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE i.indisvalid AND c.relpersistence <> 't' AND ${OF_USER} AND ${notOfExtension('pg_class', 'c.oid')}
       UNION ALL
       SELECT 'functions' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
       WHERE ${OF_USER} AND ${notOfExtension('pg_proc', 'p.oid')}
       UNION ALL
       SELECT 'constraints' FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
         JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND coalesce(to_jsonb(k) ->> 'conparentid', '0') = '0'
         AND c.relpersistence <> 't' AND ${OF_USER} AND ${notOfExtension('pg_class', 'c.oid')}
       UNION ALL
       SELECT 'triggers' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE NOT t.tgisinternal AND c.relpersistence <> 't' AND ${OF_USER} AND ${notOfExtension('pg_class', 'c.oid')}
       UNION ALL
       SELECT 'policies' FROM pg_policy
       UNION ALL
       SELECT 'large objects' FROM pg_largeobject_metadata
     ) o GROUP BY 1 ORDER BY 1`,
  )
  return Object.fromEntries(rows.map(({ sort, count }) => [sort, count]))
}

/** Exact numbers of rows of the tables that are small enough. */
export async function countRows(session: Session): Promise<[string, string, number][]> {
  const tables = await session.rows<{ schema: string; table: string }>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND ${OF_USER} AND ${notOfExtension('pg_class', 'c.oid')}
       AND pg_relation_size(c.oid) <= ${SMALL_TABLE_BYTES} ORDER BY 1, 2 LIMIT ${COUNTED_TABLES}`,
  )
  return countRowsOf(
    session,
    tables.map(({ schema, table }) => [schema, table] as const),
  )
}

export async function countRowsOf(
  session: Session,
  tables: readonly (readonly [schema: string, table: string, ...unknown[]])[],
): Promise<[string, string, number][]> {
  const counted: [string, string, number][] = []
  for (let at = 0; at < tables.length; at += TABLES_PER_QUERY) {
    const some = tables.slice(at, at + TABLES_PER_QUERY)
    const parts = some.map(
      ([schema, table], i) =>
        `SELECT ${i} AS i, count(*)::text AS rows FROM ONLY ${quoteIdentifier(schema)}.${quoteIdentifier(table)}`,
    )
    for (const { i, rows } of await session.rows<{ i: number; rows: string }>(parts.join(' UNION ALL '))) {
      const [schema, table] = some[i] as (typeof some)[number]
      counted.push([schema, table, Number(rows)])
    }
  }
  return counted
}

/** Throws `PRIVILEGE_MISSING` when `pg_dump` will not be allowed to read something. */
export async function assertReadable(session: Session): Promise<void> {
  const rows = await session.rows<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND ${OF_USER}
       AND ${notOfExtension('pg_class', 'c.oid')} AND NOT CASE c.relkind
         WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END
     ORDER BY 1 LIMIT 11`,
  )
  if (rows.length === 0) return
  const names = rows.slice(0, 10).map(({ name }) => name)
  const { user } = session.settings
  throw new BackupError(
    'PRIVILEGE_MISSING',
    `${user} may not read ${names.join(', ')}${rows.length > 10 ? ' and more' : ''}.`,
    {
      hint: `Grant it once for everything: GRANT pg_read_all_data TO ${quoteIdentifier(user)} (PostgreSQL 14 or newer).`,
    },
  )
}

/** Throws `SOURCE_MISSING` when a schema or table that was asked for is not there. */
export async function assertSelected(session: Session, { schemas, tables }: Selection): Promise<void> {
  const missing: string[] = []
  for (const schema of schemas) {
    const found = await session.rows('SELECT FROM pg_namespace WHERE nspname = $1', [schema])
    if (found.length === 0) missing.push(`schema ${quoteIdentifier(schema)}`)
  }
  for (const { schema, table } of tables) {
    const found = await session.rows(
      'SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2',
      [schema, table],
    )
    if (found.length === 0) missing.push(`table ${quoteIdentifier(schema)}.${quoteIdentifier(table)}`)
  }
  if (missing.length === 0) return
  throw new BackupError('SOURCE_MISSING', `${session.settings.database} has no ${missing.join(', no ')}.`, {
    hint: 'Names are exact, upper case and all: correct `logical.schemas` and `logical.tables`.',
  })
}

/** `CREATE DATABASE` for one of this shape; always from `template0`, the one without anything of the site's own. */
export function createDatabase(
  name: string,
  shape: DatabaseShape,
  owner: string | undefined,
  serverMajor: number,
): string {
  const { encoding, collate, ctype, localeProvider, locale } = shape
  const parts = [
    `CREATE DATABASE ${quoteIdentifier(name)} TEMPLATE template0`,
    `ENCODING ${quoteLiteral(encoding)}`,
    `LC_COLLATE ${quoteLiteral(collate)} LC_CTYPE ${quoteLiteral(ctype)}`,
  ]
  if (owner !== undefined) parts.push(`OWNER ${quoteIdentifier(owner)}`)
  // Named one by one: what a manifest says goes into SQL only within quotes.
  const provider = (['icu', 'builtin'] as const).find((known) => known === localeProvider)
  if (provider && serverMajor >= 15) {
    parts.push(`LOCALE_PROVIDER ${provider}`)
    if (locale !== undefined)
      parts.push(`${provider === 'icu' ? 'ICU_LOCALE' : 'BUILTIN_LOCALE'} ${quoteLiteral(locale)}`)
  }
  return parts.join(' ')
}

/** What core wants to know of a source. */
export function toSourceFacts(
  session: Session,
  server: ServerFacts,
  sizeBytes: number,
  details: { readonly [key: string]: JsonValue },
): SourceFacts {
  return { name: session.settings.database, engineVersion: server.version, sizeBytes, details }
}
