import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type AdapterContext, BackupError } from '@taskflow-backup/core'
import { type ConnectionSettings, resolveConnection, withSession } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { type RecoveryGoal, recoverySettings, STAGED_PORT } from '../server/settings.ts'
import { StagedServer, type StagedServerOptions } from '../server/staged-server.ts'

export interface RecoveryOptions extends Omit<StagedServerOptions, 'settings'> {
  readonly goal: RecoveryGoal
  readonly timeline: number | 'latest'
  /** What is recovered is thrown away: nothing has to survive a loss of power. */
  readonly throwaway: boolean
}

/** A recovered cluster that runs, and how to connect to it. */
export interface RecoveredCluster {
  readonly server: StagedServer
  readonly settings: ConnectionSettings
}

/**
 * Starts a server on a data directory that was laid out, and waits until it has recovered and was promoted.
 *
 * @throws `PROGRAM_FAILED`, `POINT_UNREACHABLE`, `ABORTED`
 */
export async function recover(
  options: CheckedOptions,
  { goal, timeline, throwaway, ...rest }: RecoveryOptions,
  ctx: AdapterContext,
): Promise<RecoveredCluster> {
  const { recoveryTimeoutMs } = options.physical
  const start = async (to: RecoveryGoal): Promise<StagedServer> => {
    const settings = { ...recoverySettings(to, timeline), ...(throwaway && { fsync: 'off', full_page_writes: 'off' }) }
    const server = new StagedServer({ ...rest, settings }, ctx)
    try {
      const outcome = await server.start(recoveryTimeoutMs)
      if (outcome.ready) return server
      if (!ENDED_BEFORE.test(outcome.log)) throw failed(outcome.log)
      // All that we hold was committed before that moment: all of it is wanted.
      if (to.kind === 'time') return await start({ kind: 'latest' })
      throw new BackupError('POINT_UNREACHABLE', `The log backups end before ${describe(to)}.`, {
        hint: 'Look whether it is of this timeline; leave `recoverTo` away to recover to the end.',
      })
    } catch (error) {
      await server.quit()
      throw error
    }
  }
  const server = await start(goal)
  try {
    return { server, settings: await findLogin(options, rest.socketFolder) }
  } catch (error) {
    await server.quit()
    throw error
  }
}

const ENDED_BEFORE = /recovery ended before configured recovery target was reached/

function describe(goal: RecoveryGoal): string {
  if (goal.kind === 'lsn') return 'that position in the log'
  if (goal.kind === 'restorePoint') return `the restore point ${JSON.stringify(goal.name)}`
  if (goal.kind === 'transaction') return `the commit of transaction ${goal.id}`
  return 'the end'
}

/** Why a server on a restored cluster ended by itself. */
export function failed(log: string): BackupError {
  const lines = log.split('\n').filter((line) => /\b(FATAL|PANIC|ERROR|LOG|HINT|DETAIL|postgres)\b/.test(line))
  return new BackupError(
    'PROGRAM_FAILED',
    `The restored cluster did not start: ${(lines.length > 0 ? lines : [log]).slice(-8).join('\n')}`,
    {
      hint: 'Look at the last lines. Libraries that the cluster preloads must be installed here as well.',
    },
  )
}

/**
 * A superuser and a database of the restored cluster. Nobody but us can reach its socket, so no password is asked for;
 * whose role the cluster knows for sure is the one that made the backup.
 */
async function findLogin(options: CheckedOptions, socketFolder: string): Promise<ConnectionSettings> {
  // The password is not needed: a function that gives it is not called.
  const { password: _unused, ...connection } = options.connection
  const known = await resolveConnection(connection)
  const { connectTimeoutMs } = known
  const base = { host: socketFolder, port: STAGED_PORT, tls: false, connectTimeoutMs } as const
  let first: unknown
  for (const user of new Set([known.user, 'postgres'])) {
    for (const database of new Set([known.database, 'postgres', 'template1'])) {
      try {
        const superuser = await withSession({ ...base, user, database }, async (client) => {
          const { rows } = await client.query<{ name: string }>(
            'SELECT rolname::text AS name FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid = 10 DESC, oid LIMIT 1',
          )
          return rows[0]?.name
        })
        return { ...base, user: superuser ?? user, database }
      } catch (error) {
        first ??= error
      }
    }
  }
  throw new BackupError('PROGRAM_FAILED', `Nobody can log in to the restored cluster: ${String(first)}`, {
    cause: first,
  })
}

/** Where an app's checks find the recovered cluster; there is no password. */
export function locationOf({ user, host, port, database }: ConnectionSettings): string {
  return `postgres://${encodeURIComponent(user)}@${encodeURIComponent(host)}:${port}/${encodeURIComponent(database)}`
}

/** Removes what starting left in a data directory that has served for recovery. */
export async function tidyUp(dataDirectory: string): Promise<void> {
  for (const name of ['backup_label.old', 'tablespace_map.old', 'postmaster.opts'])
    await rm(join(dataDirectory, name), { force: true })
}
