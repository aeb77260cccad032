import { availableParallelism } from 'node:os'
import type { AdapterContext, Finding } from '@taskflow-backup/core'
import { BackupError, throwIfAborted } from '@taskflow-backup/core'
import type { Client } from 'pg'
import { type ConnectionSettings, withSession } from '../connection.ts'

/** As many problems of one database as are told. */
const MOST_PROBLEMS = 20
/** Sessions that check at the same time, where there are as many processors. */
const MOST_SESSIONS = 4
/** About as much is checked with one query. */
export const PART_BYTES = 64 * 1024 * 1024
const MOST_RELATIONS = 200

// What the extension declares itself, in a schema that only the session sees: several sessions cannot make the same
// extension at a time, and one that is there already may be of an older version. The library serves those declarations
// in every version of the extension, because a cluster that was upgraded goes on with its old ones.
const FUNCTIONS = `
CREATE FUNCTION pg_temp.verify_heapam(relation regclass, on_error_stop boolean DEFAULT false,
  check_toast boolean DEFAULT false, skip text DEFAULT 'none', startblock bigint DEFAULT null, endblock bigint DEFAULT null,
  blkno OUT bigint, offnum OUT integer, attnum OUT integer, msg OUT text)
RETURNS SETOF record AS '$libdir/amcheck', 'verify_heapam' LANGUAGE C;
CREATE FUNCTION pg_temp.bt_index_check(index regclass) RETURNS void AS '$libdir/amcheck', 'bt_index_check' LANGUAGE C STRICT`

const RELATIONS = `
SELECT c.oid::text AS oid, c.relkind = 'i' AS index, pg_relation_size(c.oid)::text AS bytes,
  current_setting('block_size') AS block
FROM pg_class c JOIN pg_am a ON a.oid = c.relam
WHERE c.relpersistence <> 't' AND (
  c.relkind IN ('r', 'm', 't') AND a.amname = 'heap'
  OR c.relkind = 'i' AND a.amname = 'btree'
    AND EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND i.indisready AND i.indisvalid))
ORDER BY pg_relation_size(c.oid) DESC`

// Both read every page that they check, so that a wrong page checksum is an error of theirs as well.
const TABLES = `
SELECT part.oid::regclass::text AS relation, problem.msg
FROM unnest($1::oid[], $2::bigint[], $3::bigint[]) AS part(oid, first, last)
CROSS JOIN LATERAL pg_temp.verify_heapam(part.oid, startblock => part.first, endblock => part.last) AS problem
LIMIT ${MOST_PROBLEMS}`

const INDEXES = 'SELECT count(pg_temp.bt_index_check(oid)) FROM unnest($1::oid[]) AS oid'

/**
 * The engine's own check of a restored cluster: every database can be connected to and its catalogue read; with the
 * extension `amcheck`, which comes with the server, every table and every B-tree index is read whole and checked, by
 * several sessions where there are several processors. Its functions are made in transactions that are rolled back, so
 * that they leave nothing.
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
      findings.push(...(await checkDatabase({ ...settings, database })))
    } catch (error) {
      throwIfAborted(ctx.signal)
      const message = error instanceof BackupError ? error.message : String(error)
      findings.push({ check: 'connect', severity: 'error', message: `${database}: ${message}` })
    }
  }
  return findings
}

async function checkDatabase(settings: ConnectionSettings): Promise<Finding[]> {
  const { database } = settings
  const { relations, parts } = await withSession(settings, async (client) => {
    await freeOfLimits(client)
    const catalogue = await client.query<{ relations: string }>('SELECT count(*)::text AS relations FROM pg_class')
    const available = await client.query("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'")
    return {
      relations: catalogue.rows[0]?.relations,
      parts: available.rowCount === 0 ? undefined : inParts((await client.query<Relation>(RELATIONS)).rows),
    }
  })
  if (!parts) {
    const message = `${database} can be read (${relations} relations). Its tables and indexes were not checked: this installation has no amcheck.`
    return [{ check: 'amcheck', severity: 'warning', message }]
  }
  const problems: string[] = []
  const sessions = Array.from({ length: Math.min(MOST_SESSIONS, availableParallelism(), parts.length) }, () =>
    withSession(settings, (client) => checkParts(client, parts, problems)),
  )
  for (const session of await Promise.allSettled(sessions)) if (session.status === 'rejected') throw session.reason
  if (problems.length === 0) {
    const message = `Every table and B-tree index of ${database} is sound (${relations} relations).`
    return [{ check: 'amcheck', severity: 'ok', message }]
  }
  return problems
    .slice(0, MOST_PROBLEMS)
    .map((problem) => ({ check: 'amcheck', severity: 'error', message: `${database}: ${problem}` }))
}

/** What a role or database has set for its sessions does not count here. */
async function freeOfLimits(client: Client): Promise<void> {
  await client.query('SET statement_timeout = 0; SET lock_timeout = 0; SET default_transaction_read_only = off')
}

interface Relation {
  readonly oid: string
  readonly index: boolean
  readonly bytes: string
  readonly block: string
}

/** What one query checks. */
interface Part {
  readonly query: string
  readonly values: readonly (string | null)[][]
}

/** Large tables cut into parts, small tables and indexes put together; the large ones, which come first, stay first. */
export function inParts(relations: readonly Relation[]): Part[] {
  const parts: Part[] = []
  for (const index of [true, false]) {
    let small: string[] = []
    let smallBytes = 0
    const flush = (): void => {
      const whole = small.map(() => null)
      if (small.length > 0)
        parts.push(index ? { query: INDEXES, values: [small] } : { query: TABLES, values: [small, whole, whole] })
      small = []
      smallBytes = 0
    }
    for (const { oid, bytes, block } of relations.filter((relation) => relation.index === index)) {
      const blocks = Number(bytes) / Number(block)
      const step = PART_BYTES / Number(block)
      if (!index && blocks > step) {
        for (let first = 0; first < blocks; first += step) {
          const last = Math.min(first + step, blocks) - 1
          parts.push({ query: TABLES, values: [[oid], [String(first)], [String(last)]] })
        }
        continue
      }
      small.push(oid)
      smallBytes += Number(bytes)
      if (smallBytes >= PART_BYTES || small.length >= MOST_RELATIONS) flush()
    }
    flush()
  }
  return parts
}

/** Takes parts and checks them until there are none, in a transaction that is rolled back. */
async function checkParts(client: Client, parts: Part[], problems: string[]): Promise<void> {
  await freeOfLimits(client)
  await client.query('BEGIN READ WRITE')
  try {
    await client.query(FUNCTIONS)
    for (let part = parts.shift(); part && problems.length < MOST_PROBLEMS; part = parts.shift())
      problems.push(...(await problemsOf(client, part)))
  } finally {
    await client.query('ROLLBACK')
  }
}

/** What a query finds; a page that cannot be read is a finding as well. */
async function problemsOf(client: Client, { query, values }: Part): Promise<string[]> {
  await client.query('SAVEPOINT checking')
  try {
    const { rows } = await client.query<{ relation?: string; msg?: string }>(query, [...values])
    return rows.flatMap(({ relation, msg }) => (relation === undefined ? [] : [`${relation}: ${msg}`]))
  } catch (error) {
    await client.query('ROLLBACK TO SAVEPOINT checking')
    return [error instanceof Error ? error.message : String(error)]
  }
}
