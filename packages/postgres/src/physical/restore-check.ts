import type { AdapterContext, Finding } from '@taskflow-backup/core'
import { BackupError, throwIfAborted } from '@taskflow-backup/core'
import type { Client } from 'pg'
import { type ConnectionSettings, withSession } from '../connection.ts'

/** As many problems of one database as are told. */
const MOST_PROBLEMS = 20

// Both read every page that they check, so that a wrong page checksum is an error of theirs as well.
const HEAP = `
SELECT c.oid::regclass::text AS relation, problem.msg
FROM pg_class c CROSS JOIN LATERAL verify_heapam(c.oid) AS problem
WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't'
  AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'heap')
LIMIT ${MOST_PROBLEMS}`

const INDEXES = `
SELECT count(bt_index_check(c.oid))
FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid
  AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree')`

/**
 * The engine's own check of a restored cluster: every database can be connected to and its catalogue read; with the
 * extension `amcheck`, which comes with the server, every table and every B-tree index is read whole and checked. The
 * extension is made in a transaction that is rolled back, so that it leaves nothing.
 */
export async function checkCluster(settings: ConnectionSettings, ctx: AdapterContext): Promise<Finding[]> {
  const databases = await withSession(settings, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      'SELECT datname::text AS name FROM pg_database WHERE datallowconn ORDER BY datname',
    )
    return rows.map(({ name }) => name)
  })
  const findings: Finding[] = []
  for (const database of databases) {
    throwIfAborted(ctx.signal)
    try {
      findings.push(...(await withSession({ ...settings, database }, (client) => checkDatabase(client, database))))
    } catch (error) {
      throwIfAborted(ctx.signal)
      const message = error instanceof BackupError ? error.message : String(error)
      findings.push({ check: 'connect', severity: 'error', message: `${database}: ${message}` })
    }
  }
  return findings
}

async function checkDatabase(client: Client, database: string): Promise<Finding[]> {
  // What a role or database has set for its sessions does not count here.
  await client.query('SET statement_timeout = 0; SET lock_timeout = 0; SET default_transaction_read_only = off')
  const catalogue = await client.query<{ relations: string }>('SELECT count(*)::text AS relations FROM pg_class')
  const relations = catalogue.rows[0]?.relations
  const available = await client.query("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'")
  if (available.rowCount === 0) {
    const message = `${database} can be read (${relations} relations). Its tables and indexes were not checked: this installation has no amcheck.`
    return [{ check: 'amcheck', severity: 'warning', message }]
  }
  const problems = await inRolledBack(client, async () => {
    const { rows: existing } = await client.query("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'")
    if (existing.length === 0) await client.query('CREATE SCHEMA taskflow_backup_check')
    if (existing.length === 0) await client.query('CREATE EXTENSION amcheck SCHEMA taskflow_backup_check')
    await client.query(
      `SELECT set_config('search_path', 'pg_catalog, ' || quote_ident(n.nspname), true)
       FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'`,
    )
    return [
      ...(await problemsOf(client, HEAP, ({ relation, msg }) => `${relation}: ${msg}`)),
      ...(await problemsOf(client, INDEXES, () => undefined)),
    ]
  })
  if (problems.length === 0) {
    const message = `Every table and B-tree index of ${database} is sound (${relations} relations).`
    return [{ check: 'amcheck', severity: 'ok', message }]
  }
  return problems.map((problem) => ({ check: 'amcheck', severity: 'error', message: `${database}: ${problem}` }))
}

async function inRolledBack<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN READ WRITE')
  try {
    return await work()
  } finally {
    await client.query('ROLLBACK')
  }
}

/** What a query finds; a page that cannot be read is a finding as well. */
async function problemsOf(
  client: Client,
  query: string,
  toProblem: (row: Record<string, unknown>) => string | undefined,
): Promise<string[]> {
  await client.query('SAVEPOINT checking')
  try {
    const { rows } = await client.query<Record<string, unknown>>(query)
    return rows.map(toProblem).filter((problem) => problem !== undefined)
  } catch (error) {
    await client.query('ROLLBACK TO SAVEPOINT checking')
    return [error instanceof Error ? error.message : String(error)]
  }
}
