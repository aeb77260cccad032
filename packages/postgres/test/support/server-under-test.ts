import { spawnSync } from 'node:child_process'
import { rm } from 'node:fs/promises'
import pg from 'pg'
import type { PostgresConnection } from '../../src/index.ts'
import { RUN_AS, type Version } from './programs.ts'
import { PASSWORD, TestServer } from './server.ts'

/** A server as somebody has it who sets it up as docs/postgres.md says; what it runs in is its own matter. */
export interface ServerUnderTest {
  readonly version: Version
  /** As the superuser without `more`. Another one after each start. */
  connection(more?: PostgresConnection): PostgresConnection
  /** As a power cut would. */
  kill(): Promise<void>
  /** Runs a server of the same version on a copy of a data directory, in place of the one that was killed. */
  startOn(dataDirectory: string): Promise<void>
  destroy(): Promise<void>
}

/** The role of physical backups. */
export const BACKUP_ROLE = { user: 'backup', password: PASSWORD }
export const CREATE_BACKUP_ROLE = `
  CREATE ROLE backup LOGIN REPLICATION PASSWORD '${PASSWORD.replaceAll("'", "''")}';
  GRANT pg_read_all_settings, pg_monitor TO backup;
`
/** What pg_hba.conf has to have besides the lines of a fresh one. */
export const REPLICATION_LINE = 'host replication backup all scram-sha-256'

/** Settings that the scenarios need. */
export const settingsFor = (version: Version): { readonly [name: string]: string } => ({
  track_commit_timestamp: 'on',
  max_slot_wal_keep_size: '1GB',
  ...(version >= 17 && { summarize_wal: 'on' }),
})

/** Runs one statement in a connection of its own. */
export async function query<Row extends pg.QueryResultRow>(
  connection: PostgresConnection,
  text: string,
): Promise<Row[]> {
  const client = clientOf(connection)
  try {
    await client.connect()
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

export function clientOf(connection: PostgresConnection): pg.Client {
  const { host, port, user, database } = connection as Required<PostgresConnection>
  const client = new pg.Client({ host, port, user, password: PASSWORD, database })
  client.on('error', () => {})
  return client
}

/** A server among the packages. */
export async function localServer(version: Version): Promise<ServerUnderTest> {
  const server = await TestServer.start(version, {
    tcp: true,
    hba: `local all all scram-sha-256\nhost all all all scram-sha-256\n${REPLICATION_LINE}\n`,
    settings: settingsFor(version),
  })
  await server.sql(CREATE_BACKUP_ROLE)
  return {
    version,
    connection: (more) => server.connection(more),
    kill: () => server.stop('SIGKILL'),
    async startOn(dataDirectory) {
      await rm(server.dataDirectory, { recursive: true })
      copyTree(dataDirectory, server.dataDirectory)
      await server.run()
    },
    destroy: () => server.destroy(),
  }
}

function copyTree(from: string, to: string): void {
  const commands = [
    ['cp', '-a', from, to],
    ...(RUN_AS ? [['chown', '-R', `${RUN_AS.uid}:${RUN_AS.gid}`, to]] : []),
  ] as const
  for (const [command, ...args] of commands) {
    const { status, stderr } = spawnSync(command as string, args, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`${command}: ${stderr}`)
  }
}
