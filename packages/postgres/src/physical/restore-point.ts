import { BackupError } from '@taskflow-backup/core'
import { type PostgresConnection, resolveConnection, withSession } from '../connection.ts'

/** PostgreSQL keeps so many bytes of a name. */
const MOST_NAME_BYTES = 63

/** A named place in the write-ahead log. */
export interface RestorePoint {
  readonly name: string
  /** `<log position>`, for example `0/3000158`: a restore to the name ends just behind it. */
  readonly lsn: string
  /** The server's clock when it was made. */
  readonly createdAt: Date
}

/**
 * Gives the present moment of a cluster a name, to restore to it later: before a migration, for example. The name is
 * written to the write-ahead log, so it can be restored to from the next log backup on. Of two points with one name, a
 * restore ends at the first. Needs a superuser, or EXECUTE on `pg_create_restore_point`.
 *
 * @param connection a URL or its parts, as for `postgres()`
 * @param name 1 to 63 bytes
 * @throws `OPTIONS_INVALID`, `PRIVILEGE_MISSING`, `SERVER_SETTING` (wal_level is minimal), `SERVER_UNREACHABLE`,
 * `SERVER_REFUSED`, `SERVER_FAILED`
 *
 * @example
 * ```ts
 * import { createRestorePoint } from '@taskflow-backup/postgres'
 *
 * export async function migrate(): Promise<void> {
 *   await createRestorePoint('postgres://backup@localhost/app', 'before migration 42')
 * }
 * ```
 */
export async function createRestorePoint(connection: string | PostgresConnection, name: string): Promise<RestorePoint> {
  if (typeof name !== 'string' || name === '' || name.includes('\0') || Buffer.byteLength(name) > MOST_NAME_BYTES)
    throw new BackupError('OPTIONS_INVALID', `The name of a restore point must have 1 to ${MOST_NAME_BYTES} bytes.`)
  return withSession(await resolveConnection(connection), async (client) => {
    try {
      const { rows } = await client.query(
        'SELECT pg_create_restore_point($1)::text AS lsn, clock_timestamp() AS created_at',
        [name],
      )
      return { name, lsn: rows[0].lsn, createdAt: rows[0].created_at }
    } catch (error) {
      if ((error as { code?: string }).code !== '55000') throw error
      throw new BackupError('SERVER_SETTING', `No restore point can be made here: ${(error as Error).message}`, {
        hint: 'It needs a primary, not a standby, with wal_level replica or logical.',
        cause: error,
      })
    }
  })
}
