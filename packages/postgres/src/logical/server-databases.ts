import { setTimeout as sleep } from 'node:timers/promises'
import { BackupError, livenessOf, ownIdentity, type ProcessIdentity } from '@taskflow-backup/core'
import { quoteIdentifier, quoteLiteral } from './names.ts'
import type { Session } from './session.ts'

// Databases as the server lists them, and who is connected to them.

export interface DatabaseEntry {
  readonly oid: string
  readonly name: string
  readonly owner: string
  readonly comment: string | null
  readonly tablespace: string
}

export interface OtherSession {
  readonly pid: number
  readonly who: string
}

/** A client that has just disconnected is listed for a moment longer. */
const LINGER_ROUNDS = 20
const ROUND_MS = 50

export async function findDatabase(session: Session, name: string): Promise<DatabaseEntry | undefined> {
  return (await listDatabases(session)).find((database) => database.name === name)
}

export async function listDatabases(session: Session): Promise<DatabaseEntry[]> {
  return session.rows<{ oid: string; name: string; owner: string; comment: string | null; tablespace: string }>(
    `SELECT d.oid::text AS oid, d.datname AS name, pg_get_userbyid(d.datdba) AS owner,
       shobj_description(d.oid, 'pg_database') AS comment, t.spcname AS tablespace
     FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace ORDER BY 2`,
  )
}

/** Sessions on a database. Those of autovacuum end by themselves when somebody wants the database for himself. */
async function sessionsOn(session: Session, name: string): Promise<OtherSession[]> {
  return session.rows<{ pid: number; who: string }>(
    `SELECT pid, concat_ws(' ', usename, nullif(application_name, ''), host(client_addr)) AS who FROM pg_stat_activity
     WHERE datname = $1 AND pid <> pg_backend_pid()
       AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker') ORDER BY pid`,
    [name],
  )
}

/** @throws `DATABASE_IN_USE` naming who is connected, after a short patience */
export async function refuseSessions(session: Session, name: string): Promise<void> {
  for (let round = 0; ; round++) {
    const others = await sessionsOn(session, name)
    if (others.length === 0) return
    if (round < LINGER_ROUNDS) {
      await sleep(ROUND_MS)
      continue
    }
    const names = others.slice(0, 5).map(({ pid, who }) => `${who} (${pid})`)
    const more = others.length > 5 ? ` and ${others.length - 5} more` : ''
    throw new BackupError('DATABASE_IN_USE', `Connected to ${name}: ${names.join(', ')}${more}.`, { retryable: true })
  }
}

export async function endSessions(session: Session, name: string): Promise<void> {
  await session.rows(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()',
    [name],
  )
}

/** Ends what programs that were started under this name still do on the server. */
export async function endProgramSessions(session: Session, applicationName: string): Promise<void> {
  for (let round = 0; round < LINGER_ROUNDS; round++) {
    const ended = await session.rows(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = $1 AND pid <> pg_backend_pid() AND usename = current_user`,
      [applicationName],
    )
    if (ended.length === 0) return
    await sleep(ROUND_MS)
  }
}

export async function dropDatabase(session: Session, name: string): Promise<void> {
  const [version] = await session.rows<{ number: string }>(`SELECT current_setting('server_version_num') AS number`)
  if (Number(version?.number) >= 130_000) {
    await session.rows(`DROP DATABASE IF EXISTS ${quoteIdentifier(name)} WITH (FORCE)`)
    return
  }
  await endSessions(session, name)
  await session.rows(`DROP DATABASE IF EXISTS ${quoteIdentifier(name)}`)
}

/** Whether there is anything in the session's database that a fresh one has not. */
export async function isEmptyDatabase(session: Session): Promise<boolean> {
  const rows = await session.rows(
    `SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
     UNION ALL SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
     UNION ALL SELECT FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
     UNION ALL SELECT FROM pg_extension WHERE extname <> 'plpgsql'
     UNION ALL SELECT FROM pg_largeobject_metadata LIMIT 1`,
  )
  return rows.length === 0
}

/** Key of the mark that says that a database is being restored, and by whom. */
const MARK = 'taskflowBackupRestore'

interface StagingMark extends ProcessIdentity {
  readonly createdAt: string
}

/** Marks a database as being restored by this process, as its comment. */
export async function markStaging(session: Session, name: string, now: Date): Promise<void> {
  const mark: StagingMark = { ...(await ownIdentity()), createdAt: now.toISOString() }
  const text = JSON.stringify({ [MARK]: mark })
  await session.rows(`COMMENT ON DATABASE ${quoteIdentifier(name)} IS ${quoteLiteral(text)}`)
}

export function parseMark(comment: string | null): StagingMark | undefined {
  try {
    return (JSON.parse(comment ?? 'null') as { readonly [MARK]?: StagingMark } | null)?.[MARK]
  } catch {
    return undefined
  }
}

/** What cannot be asked (another machine, another container) is given up after this time without a connection. */
const STOOD_STILL_MS = 24 * 3_600_000

export async function isAbandoned(session: Session, name: string, mark: StagingMark, now: Date): Promise<boolean> {
  const liveness = await livenessOf(mark)
  if (liveness !== 'unknown') return liveness === 'dead'
  const old = now.getTime() - Date.parse(mark.createdAt) > STOOD_STILL_MS
  return old && (await sessionsOn(session, name)).length === 0
}
