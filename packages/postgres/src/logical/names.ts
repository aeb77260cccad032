import { BackupError } from '@taskflow-backup/core'

/** PostgreSQL cuts longer names off, without an error. */
const NAME_BYTES = 63

/** A name as SQL: within double quotes every character means itself. */
export function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\0'))
    throw new BackupError('OPTIONS_INVALID', `${JSON.stringify(name)} cannot be a name in PostgreSQL.`)
  return `"${name.replaceAll('"', '""')}"`
}

/** A text as SQL, whatever `standard_conforming_strings` says. */
export function quoteLiteral(text: string): string {
  if (text.includes('\0')) throw new BackupError('OPTIONS_INVALID', 'PostgreSQL has no texts with a zero byte.')
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`
  return text.includes('\\') ? ` E${quoted}` : quoted
}

/** A value in a connection string of libpq. */
export const quoteConnectionValue = (value: string): string =>
  `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`

/** A table in a schema; both names are exact. */
export interface TableName {
  readonly schema: string
  readonly table: string
}

/**
 * Reads `schema.table`. Names are exact, upper case and all; the first dot parts them. Within double quotes, as in SQL, a
 * dot means itself: `"my.schema"."my table"`.
 *
 * @throws `OPTIONS_INVALID`
 */
export function parseTableName(text: string): TableName {
  const found = /^(?:"((?:[^"]|"")+)"|([^".]+))\.(?:"((?:[^"]|"")+)"|([^"].*))$/su.exec(text)
  if (!found) {
    throw new BackupError(
      'OPTIONS_INVALID',
      `postgres() has bad options: logical: ${JSON.stringify(text)} is no table; write "schema.table".`,
    )
  }
  const [, quotedSchema, schema, quotedTable, table] = found
  const name = (quoted: string | undefined, plain: string | undefined): string =>
    quoted === undefined ? (plain as string) : quoted.replaceAll('""', '"')
  return { schema: name(quotedSchema, schema), table: name(quotedTable, table) }
}

/** A pattern of `pg_dump` that means exactly this name: within double quotes `*`, `?` and `.` have no meaning. */
export const exactPattern = (...names: readonly string[]): string => names.map(quoteIdentifier).join('.')

/** End of the name of a database that is being restored. */
const STAGING = /_restoring_[a-z0-9]{12}$/

export const isStagingName = (name: string): boolean => STAGING.test(name)

export const stagingName = (target: string, random: string): string => withEnding(target, `_restoring_${random}`)

/** Under this name a database is kept that was replaced. */
export function keptName(target: string, at: Date, random: string): string {
  const stamp = at.toISOString().replace(/[-:]/g, '').replace('T', '_').slice(0, 15)
  return withEnding(target, `_before_restore_${stamp}_${random}`)
}

/** `name`, cut at a whole character where need be, and `ending`: 63 bytes at most. */
function withEnding(name: string, ending: string): string {
  const room = NAME_BYTES - Buffer.byteLength(ending)
  let cut = ''
  let bytes = 0
  for (const character of name) {
    bytes += Buffer.byteLength(character)
    if (bytes > room) break
    cut += character
  }
  return cut + ending
}

/** Whether PostgreSQL takes `name` for a database as it is. */
export const isDatabaseName = (name: unknown): name is string =>
  typeof name === 'string' && name !== '' && !name.includes('\0') && Buffer.byteLength(name) <= NAME_BYTES
