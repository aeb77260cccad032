import { type AdapterContext, BackupError, type RestoreRequest } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import { isDatabaseName, quoteIdentifier } from './names.ts'
import { findDatabase, isEmptyDatabase, refuseSessions } from './server-databases.ts'
import { inMaintenance, inSession, type Session } from './session.ts'
import type { LogicalDetails } from './source.ts'

/** Where a restore goes; `name` is absent for a scratch database. */
export interface RestorePlace {
  readonly name?: string
  /** False when only an empty database may be replaced. */
  readonly overwrite: boolean
}

/** Reads the target and refuses what cannot be used, before anything is touched. */
export async function checkTarget(
  settings: ConnectionSettings,
  { target, evenIfInUse }: RestoreRequest,
  details: LogicalDetails,
  ctx: AdapterContext,
): Promise<RestorePlace> {
  if (target.kind === 'scratch') return { overwrite: false }
  const name = target.kind === 'live' ? settings.database : target.to
  if (!isDatabaseName(name))
    throw new BackupError('TARGET_INVALID', '`to` must be the name of a database: a text of 1 to 63 bytes.', {
      hint: 'Give the name of a database on the server that the adapter is connected to; it is made when it is not there.',
    })
  if (/^template[01]$/.test(name)) throw new BackupError('TARGET_INVALID', `${name} is a template of the server.`)
  const overwrite = target.kind === 'live' || target.overwrite
  await inMaintenance(settings, [name], ctx.signal, async (session) => {
    if (!(await findDatabase(session, name))) return
    if (details.selection && target.kind === 'live') {
      throw new BackupError('TARGET_INVALID', `The backup holds only a part of ${name}; the rest would be gone.`, {
        hint: 'Restore it to another database with `to`, and copy what you need from there.',
      })
    }
    if (!overwrite) await assertEmpty(settings, name, ctx)
    // Looked at again when it is promoted; this look spares the wait.
    if (!evenIfInUse) await refuseSessions(session, name)
  })
  return { name, overwrite }
}

/** @throws `TARGET_EXISTS` */
export async function assertEmpty(settings: ConnectionSettings, name: string, ctx: AdapterContext): Promise<void> {
  if (await inSession({ ...settings, database: name }, ctx.signal, isEmptyDatabase)) return
  throw new BackupError('TARGET_EXISTS', `There is a database ${name}, and it is not empty.`, {
    hint: 'Give another name, or `overwrite: true`; what is there is kept for undo.',
  })
}

/** Refuses a restore that the server cannot take: roles or extensions that are missing, privileges. */
export async function checkServer(session: Session, details: LogicalDetails): Promise<{ readonly owner?: string }> {
  const { user } = session.settings
  const [me] = await session.rows<{ superuser: boolean; create: boolean }>(
    'SELECT rolsuper AS superuser, rolcreatedb AS create FROM pg_roles WHERE rolname = current_user',
  )
  if (!me?.superuser && !me?.create)
    throw new BackupError('PRIVILEGE_MISSING', `${user} may not make databases.`, {
      hint: `A superuser grants it: ALTER ROLE ${quoteIdentifier(user)} CREATEDB.`,
    })
  const { owners, grantees, extensions, database } = details
  const named = [...new Set([...owners, ...grantees])]
  const known = await session.rows<{ name: string; member: boolean }>(
    `SELECT rolname AS name, pg_has_role(current_user, oid, 'MEMBER') AS member FROM pg_roles WHERE rolname = ANY ($1)`,
    [[...named, database.owner]],
  )
  const missing = named.filter((role) => !known.some(({ name }) => name === role))
  const available = await session.rows<{ name: string }>(
    'SELECT name::text FROM pg_available_extensions WHERE name = ANY ($1)',
    [extensions.map(({ name }) => name)],
  )
  const lacking = extensions.filter((extension) => !available.some(({ name }) => name === extension.name))
  const problems = [
    ...(missing.length > 0 ? [`the roles ${missing.join(', ')}`] : []),
    ...(lacking.length > 0 ? [`the extensions ${lacking.map(({ name }) => name).join(', ')}`] : []),
  ]
  if (problems.length > 0)
    throw new BackupError('TARGET_INVALID', `The server has not what the backup needs: ${problems.join('; ')}.`, {
      hint: 'Make the roles first (the member `.globals.sql` of the backup has the statements) and install the packages of the extensions.',
    })
  const foreign = owners.filter((role) => known.some(({ name, member }) => name === role && !member))
  if (foreign.length > 0)
    throw new BackupError('PRIVILEGE_MISSING', `${user} may not give objects to ${foreign.join(', ')}.`, {
      hint: `Restore as a superuser, or: GRANT ${quoteIdentifier(foreign[0] as string)} TO ${quoteIdentifier(user)}.`,
    })
  const owner = known.find(({ name, member }) => name === database.owner && member)
  return owner ? { owner: owner.name } : {}
}
