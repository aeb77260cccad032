import { BackupError, type JsonValue, type SourceFacts } from '@taskflow-backup/core'
import { type ConnectionSettings, withSession } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { parseLsn } from '../position.ts'
import { ReplicationConnection } from '../replication/connection.ts'
import { MANAGED_ROLES, refuseServer, replicationError } from './preflight.ts'
import type { SlotFacts } from './slot.ts'
import { readSlot } from './slot.ts'
import { type Ancestor, historyDetails, parseHistory } from './timeline.ts'

/** What the server says of itself. */
export interface ServerFacts {
  readonly version: string
  /** 150018 for 15.18. */
  readonly versionNumber: number
  readonly clusterName: string
  readonly dataChecksums: boolean
  readonly walSegmentBytes: number
  readonly walLevel: string
  readonly inRecovery: boolean
  readonly summarizeWal: boolean
  /** MiB; -1 without a limit. */
  readonly maxSlotWalKeepMb: number
  readonly databases: readonly string[]
  /** Absent where the user may not know it. */
  readonly sizeBytes?: number
  readonly mayReplicate: boolean
  readonly managedRoles: readonly string[]
  /** Its own clock, read before `flushLsn`. */
  readonly clock: Date
  /** Everything before it is on its disk. */
  readonly flushLsn: bigint
  /** Absent when it does not exist, or none was asked for. */
  readonly slot?: SlotFacts
}

/** What the replication protocol says beside that. */
export interface ClusterIdentity {
  readonly systemIdentifier: string
  readonly timeline: number
  /** Ancestors of the timeline. */
  readonly history: readonly Ancestor[]
  /** The history files of the timeline and all its ancestors but the first, as they are. */
  readonly historyFiles: readonly { readonly timeline: number; readonly content: string }[]
}

export interface Source extends ServerFacts, ClusterIdentity {}

// One statement, so that it is one round trip; the clock comes first because a volatile function is called in its place.
const FACTS = `
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
     flushed AS MATERIALIZED (
       SELECT now, CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END AS lsn
       FROM clock)
SELECT extract(epoch FROM now) * 1000 AS clock_ms,
       lsn::text AS flush_lsn,
       current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_number,
       current_setting('cluster_name') AS cluster_name,
       current_setting('data_checksums') = 'on' AS data_checksums,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS wal_segment_bytes,
       current_setting('wal_level') AS wal_level,
       current_setting('summarize_wal', true) = 'on' AS summarize_wal,
       (SELECT setting::int FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS max_slot_wal_keep_mb,
       pg_is_in_recovery() AS in_recovery,
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user) AS may_replicate,
       ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1)) AS managed_roles,
       ARRAY(SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1) AS databases
FROM flushed`

// Only what the user may ask for; the sum of all, or nothing.
const SIZE = `
SELECT sum(pg_database_size(oid))::bigint AS size_bytes FROM pg_database
HAVING bool_and(has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE'))`

/** Asks a server about itself, with a normal session. */
export async function readServer(
  settings: ConnectionSettings,
  { slot, withSize }: { readonly slot: string | undefined; readonly withSize: boolean },
  signal?: AbortSignal,
): Promise<ServerFacts> {
  return withSession(
    settings,
    async (client) => {
      const versionNumber = Number((await client.query('SHOW server_version_num')).rows[0]?.server_version_num)
      if (!(versionNumber >= 150_000)) {
        throw new BackupError(
          'SERVER_UNSUPPORTED',
          `Physical backups need PostgreSQL 15 or newer; this is ${versionNumber}.`,
          {
            hint: "Use mode: 'logical', which works with older servers.",
          },
        )
      }
      const [row] = (await client.query(FACTS, [MANAGED_ROLES])).rows
      const sizeBytes = withSize ? (await client.query(SIZE)).rows[0]?.size_bytes : undefined
      const found = slot === undefined ? undefined : await readSlot(client, slot)
      return {
        version: String(row.version).replace(/ .*/, ''),
        versionNumber,
        clusterName: row.cluster_name,
        dataChecksums: row.data_checksums,
        walSegmentBytes: Number(row.wal_segment_bytes),
        walLevel: row.wal_level,
        inRecovery: row.in_recovery,
        summarizeWal: row.summarize_wal === true,
        maxSlotWalKeepMb: row.max_slot_wal_keep_mb,
        databases: row.databases,
        mayReplicate: row.may_replicate === true,
        managedRoles: row.managed_roles,
        clock: new Date(Math.floor(Number(row.clock_ms))),
        flushLsn: parseLsn(row.flush_lsn),
        ...(sizeBytes != null && { sizeBytes: Number(sizeBytes) }),
        ...(found && { slot: found }),
      }
    },
    signal,
  )
}

/** Asks the walsender who it is; proves that replication is allowed. */
async function readIdentity(settings: ConnectionSettings, facts: ServerFacts): Promise<ClusterIdentity> {
  let connection: ReplicationConnection
  try {
    connection = await ReplicationConnection.connect(settings)
  } catch (error) {
    throw replicationError(error, settings, facts)
  }
  try {
    const { systemid, timeline: current } = await connection.row('IDENTIFY_SYSTEM')
    const timeline = Number(current)
    const historyFiles: { timeline: number; content: string }[] = []
    const read = async (one: number): Promise<Ancestor[]> => {
      const { content } = await connection.row(`TIMELINE_HISTORY ${one}`)
      historyFiles.unshift({ timeline: one, content: String(content) })
      return parseHistory(String(content))
    }
    const history = timeline > 1 ? await read(timeline) : []
    // The file of a timeline repeats its ancestors' lines; their files are wanted by hand-made recoveries only, and a
    // server that was built from a backup may not have them.
    for (const ancestor of history.toReversed())
      if (ancestor.timeline > 1) await read(ancestor.timeline).catch(() => {})
    return { systemIdentifier: String(systemid), timeline, history, historyFiles }
  } finally {
    await connection.close()
  }
}

/**
 * Everything that there is to know before a backup.
 *
 * @throws `SERVER_UNREACHABLE`, `SERVER_REFUSED`, `PRIVILEGE_MISSING`, `SERVER_SETTING`, `SERVER_UNSUPPORTED`,
 * `SERVER_BUSY`
 */
export async function readSource(
  settings: ConnectionSettings,
  options: CheckedOptions,
  withSize: boolean,
  signal: AbortSignal,
): Promise<Source> {
  const facts = await readServer(settings, { slot: options.physical.slot, withSize }, signal)
  refuseServer(facts, settings)
  return { ...facts, ...(await readIdentity(settings, facts)) }
}

/** For a manifest. */
export function toSourceFacts(source: Source, more: { readonly [key: string]: JsonValue } = {}): SourceFacts {
  const { clusterName, version, versionNumber, sizeBytes, databases } = source
  return {
    name: clusterName || (databases.length === 1 ? (databases[0] as string) : 'postgres'),
    engineVersion: version,
    ...(sizeBytes !== undefined && { sizeBytes }),
    details: {
      mode: 'physical',
      systemIdentifier: source.systemIdentifier,
      majorVersion: Math.floor(versionNumber / 10_000),
      walSegmentBytes: source.walSegmentBytes,
      timeline: source.timeline,
      history: historyDetails(source.history),
      dataChecksums: source.dataChecksums,
      ...more,
    },
  }
}
