import { quoteIdentifier, quoteLiteral } from './names.ts'
import type { DatabaseEntry } from './server-databases.ts'
import type { Session } from './session.ts'

/** Settings whose value is a list of names: each is quoted by itself. The same list as in `pg_dump`. */
const LISTS = new Set([
  'local_preload_libraries',
  'search_path',
  'session_preload_libraries',
  'shared_preload_libraries',
  'temp_tablespaces',
  'unix_socket_directories',
])

/**
 * Statements that give the database `to` what belongs to a database itself and is in no dump of it: owner, settings,
 * those for single roles as well, privileges, limit, comment.
 */
export async function carryOverStatements(session: Session, from: DatabaseEntry, to: string): Promise<string[]> {
  const name = quoteIdentifier(to)
  const [row] = await session.rows<{ limit: number; custom: boolean }>(
    'SELECT datconnlimit AS limit, datacl IS NOT NULL AS custom FROM pg_database WHERE oid = $1::oid',
    [from.oid],
  )
  const statements = [`ALTER DATABASE ${name} OWNER TO ${quoteIdentifier(from.owner)}`]
  const settings = await session.rows<{ role: string | null; setting: string }>(
    `SELECT r.rolname AS role, unnest(s.setconfig) AS setting FROM pg_db_role_setting s
     LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = $1::oid AND (s.setrole = 0 OR r.oid IS NOT NULL)`,
    [from.oid],
  )
  for (const { role, setting } of settings) {
    const [, key, value] = /^([^=]*)=(.*)$/su.exec(setting) as unknown as [string, string, string]
    const whose = role === null ? `DATABASE ${name}` : `ROLE ${quoteIdentifier(role)} IN DATABASE ${name}`
    const variable = key.split('.').map(quoteIdentifier).join('.')
    statements.push(`ALTER ${whose} SET ${variable} TO ${settingValue(key, value)}`)
  }
  if (row && row.limit >= 0) statements.push(`ALTER DATABASE ${name} CONNECTION LIMIT ${row.limit}`)
  if (row?.custom) statements.push(...(await grants(session, from, name)))
  const comment = from.comment === null ? 'NULL' : quoteLiteral(from.comment)
  statements.push(`COMMENT ON DATABASE ${name} IS ${comment}`)
  return statements
}

async function grants(session: Session, from: DatabaseEntry, name: string): Promise<string[]> {
  const rows = await session.rows<{ role: string | null; privilege: string; grantable: boolean }>(
    `SELECT r.rolname AS role, a.privilege_type AS privilege, a.is_grantable AS grantable
     FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE d.oid = $1::oid AND (a.grantee = 0 OR r.oid IS NOT NULL)`,
    [from.oid],
  )
  const revoked = ['PUBLIC', quoteIdentifier(from.owner)].map((who) => `REVOKE ALL ON DATABASE ${name} FROM ${who}`)
  const granted = rows.map(({ role, privilege, grantable }) => {
    const who = role === null ? 'PUBLIC' : quoteIdentifier(role)
    return `GRANT ${privilege} ON DATABASE ${name} TO ${who}${grantable ? ' WITH GRANT OPTION' : ''}`
  })
  return [...revoked, ...granted]
}

/** A stored value as `SET` takes it. */
export function settingValue(key: string, value: string): string {
  if (!LISTS.has(key.toLowerCase())) return quoteLiteral(value)
  const names = splitNames(value)
  return names.length === 0 ? "''" : names.map(quoteLiteral).join(', ')
}

/** Parts of a list of names as the server stores it: each may be within double quotes. */
function splitNames(value: string): string[] {
  const names: string[] = []
  for (const [, quoted, plain] of value.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,\s"][^,]*))\s*(?:,|$)/gu)) {
    names.push(quoted === undefined ? (plain as string).trim() : quoted.replaceAll('""', '"'))
  }
  return names
}
