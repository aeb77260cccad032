import { setTimeout as sleep } from 'node:timers/promises'
import { BackupError, type RestoreRequest } from '@taskflow-backup/core'
import type { MssqlDetails } from '../details.ts'
import type { CheckedOptions } from '../options.ts'
import { readPermissions } from '../preflight.ts'
import type { ServerFacts } from '../server-facts.ts'
import type { SqlSession } from '../session.ts'
import { DATABASE_FACTS, type DatabaseFactsRow, SESSIONS_OF, type SessionRow } from '../statements/queries/databases.ts'
import { isDatabaseName, isSystemDatabase } from './names.ts'
import { readTarget, type StopPoint } from './stop-point.ts'

/** Where a restore goes. */
export interface RestorePlace {
  /** Absent for a scratch database. */
  readonly name?: string
  /** False when nothing may be there. */
  readonly overwrite: boolean
  /** Default: the end of the last backup. */
  readonly stop?: StopPoint
}

/** A client that has just disconnected is listed for a moment longer. */
const LINGER_ROUNDS = 20
const ROUND_MS = 50

export async function findDatabase(session: SqlSession, database: string): Promise<DatabaseFactsRow | undefined> {
  const [row] = await session.rows<DatabaseFactsRow>(DATABASE_FACTS, { database })
  return row
}

/**
 * Reads what was given as target, without asking the server.
 *
 * @throws `TARGET_INVALID`
 */
export function readPlace(
  { database }: Pick<CheckedOptions, 'database'>,
  { target, at }: RestoreRequest,
): RestorePlace {
  const { database: name, stop } = readTarget(target.kind === 'place' ? target.to : database, at)
  if (target.kind === 'scratch') return { overwrite: false, ...(stop && { stop }) }
  if (!isDatabaseName(name) || isSystemDatabase(name))
    throw new BackupError(
      'TARGET_INVALID',
      '`to` must be the name of a database, of 1 to 128 characters, and none of the server itself.',
      {
        hint: 'Give the name of a database on the server that the adapter is connected to; it is made when it is not there.',
      },
    )
  return { name, overwrite: target.kind === 'live' || target.overwrite, ...(stop && { stop }) }
}

/**
 * Refuses a target that cannot be used, before anything is touched.
 *
 * @throws `TARGET_INVALID`, `TARGET_EXISTS`, `DATABASE_IN_USE`
 */
export async function checkTarget(
  session: SqlSession,
  place: RestorePlace,
  { evenIfInUse }: Pick<RestoreRequest, 'evenIfInUse'>,
): Promise<RestorePlace> {
  const { name, overwrite } = place
  if (name === undefined) return place
  const there = await findDatabase(session, name)
  if (there) {
    assertReplaceable(there, overwrite)
    // Looked at again when it is promoted; this look spares the wait.
    if (!evenIfInUse) await refuseSessions(session, there.name)
  }
  return place
}

/** @throws `TARGET_EXISTS`, or `TARGET_INVALID` for a database that the server cannot rename */
export function assertReplaceable(
  { name, state, sourceDatabaseId, inAvailabilityGroup }: DatabaseFactsRow,
  overwrite: boolean,
): void {
  if (!overwrite)
    throw new BackupError('TARGET_EXISTS', `There is a database ${name}.`, {
      hint: 'Give another name, or `overwrite: true`; what is there is kept for undo.',
    })
  if (sourceDatabaseId !== null)
    throw new BackupError('TARGET_INVALID', `${name} is a database snapshot.`, {
      hint: 'Give the name of a database, or a new name.',
    })
  if (inAvailabilityGroup)
    throw new BackupError(
      'TARGET_INVALID',
      `${name} is in an availability group, so it can be neither renamed nor replaced.`,
      {
        hint: 'Take it out of the group first, restore, and add it again; or restore under another name.',
      },
    )
  if (state === 'ONLINE') return
  throw new BackupError('TARGET_INVALID', `${name} is ${state}; the server renames only a database that is ONLINE.`, {
    hint: 'Restore under another name with `to`; or make way: detach or drop it, which a restore then takes as not there.',
  })
}

/** @throws `DATABASE_IN_USE` naming who is connected, after a short patience */
export async function refuseSessions(session: SqlSession, database: string): Promise<void> {
  for (let round = 0; ; round++) {
    const others = await session.rows<SessionRow>(SESSIONS_OF, { database })
    if (others.length === 0) return
    if (round < LINGER_ROUNDS) {
      await sleep(ROUND_MS)
      continue
    }
    const names = others
      .slice(0, 5)
      .map(
        ({ sessionId, login, program, host }) => `${login}, ${program ?? 'unknown program'} on ${host} (${sessionId})`,
      )
    const more = others.length > 5 ? ` and ${others.length - 5} more` : ''
    throw new BackupError('DATABASE_IN_USE', `Connected to ${database}: ${names.join('; ')}${more}.`, {
      retryable: true,
    })
  }
}

/**
 * Asks whether this server can take the backup, and the login may restore.
 *
 * @throws `SERVER_UNSUPPORTED`, `PRIVILEGE_MISSING`
 */
export async function assertRestorable(
  session: SqlSession,
  server: ServerFacts,
  { engineVersion, details }: { readonly engineVersion: string; readonly details: MssqlDetails },
): Promise<void> {
  const madeBy = Number.parseInt(engineVersion, 10)
  if (madeBy > server.major)
    throw new BackupError(
      'SERVER_UNSUPPORTED',
      `SQL Server ${engineVersion} made the backup; this one is ${server.productVersion}, which cannot read it.`,
      { hint: 'Restore on a server that is not older.' },
    )
  const { createAnyDatabase, isDbcreator, isSysadmin } = await readPermissions(session, details.database)
  if (createAnyDatabase || isDbcreator || isSysadmin) return
  throw new BackupError('PRIVILEGE_MISSING', `The login ${server.login} may not make databases.`, {
    hint: `ALTER SERVER ROLE dbcreator ADD MEMBER [${server.login}].`,
    details: { missing: ['CREATE ANY DATABASE'] },
  })
}
