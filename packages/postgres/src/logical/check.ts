import type { Finding } from '@taskflow-backup/core'
import { quoteIdentifier } from './names.ts'
import type { Session } from './session.ts'
import { countObjects, countRowsOf, type LogicalDetails, readExtensions } from './source.ts'

const TABLES_PER_QUERY = 100

/**
 * Holds a restored database against what was noted when it was dumped.
 *
 * No `amcheck`: this server has built every table and every index anew a moment ago, and has checked every constraint
 * while it added it. What can be wrong is that something is missing.
 */
export async function checkRestored(session: Session, details: LogicalDetails): Promise<Finding[]> {
  return [
    ...(await checkReadable(session)),
    ...(await checkIndexes(session)),
    ...(await checkObjects(session, details)),
    ...(await checkRows(session, details)),
    ...(await checkExtensions(session, details)),
  ]
}

/** Reads a row of every table and view that holds rows. */
async function checkReadable(session: Session): Promise<Finding[]> {
  await session.rows('SET row_security = off')
  const tables = await session.rows<{ schema: string; table: string }>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
       AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2`,
  )
  for (let at = 0; at < tables.length; at += TABLES_PER_QUERY) {
    const parts = tables
      .slice(at, at + TABLES_PER_QUERY)
      .map(
        ({ schema, table }) =>
          `(SELECT count(*) FROM (SELECT * FROM ${quoteIdentifier(schema)}.${quoteIdentifier(table)} LIMIT 1) t)`,
      )
    await session.rows(`SELECT ${parts.join(' + ')}`)
  }
  return [{ check: 'tables', severity: 'ok', message: `All ${tables.length} tables and sequences can be read.` }]
}

async function checkIndexes(session: Session): Promise<Finding[]> {
  const invalid = await session.rows<{ name: string; partitioned: boolean }>(
    `SELECT i.indexrelid::regclass::text AS name, c.relkind = 'I' AS partitioned
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT (i.indisvalid AND i.indisready) ORDER BY 1`,
  )
  if (invalid.length === 0) return [{ check: 'indexes', severity: 'ok', message: 'All indexes are valid.' }]
  return invalid.map(({ name, partitioned }) => ({
    check: 'indexes',
    // That of a partitioned table was so in the source already, when a partition has none.
    severity: partitioned ? 'warning' : 'error',
    message: `The index ${name} is not valid.`,
  }))
}

async function checkObjects(session: Session, { objects }: LogicalDetails): Promise<Finding[]> {
  const now = await countObjects(session)
  const differing = Object.entries(objects).filter(([sort, count]) => (now[sort] ?? 0) !== count)
  if (differing.length > 0)
    return differing.map(([sort, count]) => ({
      check: 'objects',
      severity: (now[sort] ?? 0) < count ? 'error' : 'warning',
      message: `There are ${now[sort] ?? 0} ${sort}; when it was backed up, there were ${count}.`,
    }))
  const all = Object.values(objects).reduce((sum, count) => sum + count, 0)
  return [
    { check: 'objects', severity: 'ok', message: `There are as many objects of each sort as were backed up (${all}).` },
  ]
}

async function checkRows(session: Session, { rowCounts }: LogicalDetails): Promise<Finding[]> {
  if (rowCounts.length === 0) return []
  const existing = await session.rows<{ schema: string; table: string }>(
    `SELECT n.nspname AS schema, c.relname AS table FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r'`,
  )
  const isThere = ([schema, table]: readonly [string, string, number]): boolean =>
    existing.some((one) => one.schema === schema && one.table === table)
  const gone = rowCounts.filter((counted) => !isThere(counted))
  const now = await countRowsOf(session, rowCounts.filter(isThere))
  const expected = new Map(rowCounts.map(([schema, table, rows]) => [JSON.stringify([schema, table]), rows]))
  const wrong = now.filter(([schema, table, rows]) => expected.get(JSON.stringify([schema, table])) !== rows)
  const problems: Finding[] = [
    ...gone.map(([schema, table]) => problem(`The table ${schema}.${table} is missing.`)),
    ...wrong.map(([schema, table, rows]) =>
      problem(`${schema}.${table} has ${rows} rows, not ${expected.get(JSON.stringify([schema, table]))}.`),
    ),
  ]
  if (problems.length > 0) return problems
  return [{ check: 'rows', severity: 'ok', message: `${now.length} tables have as many rows as were backed up.` }]
}

const problem = (message: string): Finding => ({ check: 'rows', severity: 'error', message })

async function checkExtensions(session: Session, { extensions, selection }: LogicalDetails): Promise<Finding[]> {
  const now = await readExtensions(session)
  return extensions.flatMap(({ name, version }): Finding[] => {
    const here = now.find((extension) => extension.name === name)
    if (!here && !selection)
      return [{ check: 'extensions', severity: 'error', message: `The extension ${name} is missing.` }]
    if (!here || here.version === version) return []
    return [
      {
        check: 'extensions',
        severity: 'warning',
        message: `The extension ${name} has version ${here.version}; when it was backed up, it had ${version}.`,
      },
    ]
  })
}
