import { setTimeout as sleep } from 'node:timers/promises'
import { type AdapterContext, BackupError, type UndoRecord } from '@taskflow-backup/core'
import type { ConnectionSettings } from '../connection.ts'
import { carryOverStatements } from './carry-over.ts'
import { keptName, quoteIdentifier } from './names.ts'
import { type DatabaseEntry, endSessions, findDatabase, refuseSessions } from './server-databases.ts'
import { inMaintenance, type Session } from './session.ts'

export const ENGINE = 'postgres'

const ROUND_MS = 20

export interface SwapOrders {
  /** Database that gets the name `target`; `undefined` when nothing shall have it. */
  readonly incoming: string | undefined
  readonly target: string
  readonly evenIfInUse: boolean
  /** Give `incoming` the owner, settings, privileges and comment of the database that it replaces. */
  readonly carryOver: boolean
  /** Refuses to replace the database that is there by throwing. */
  readonly assertReplaceable?: (live: DatabaseEntry) => Promise<void>
}

/**
 * Renames `incoming` to `target`, and what is there to a name under which it is kept, in one transaction: at every
 * moment, whoever is killed, there is the old database under this name or the new one.
 *
 * @throws `DATABASE_IN_USE`, `PRIVILEGE_MISSING` and what `assertReplaceable` throws
 */
export async function swapDatabases(
  settings: ConnectionSettings,
  orders: SwapOrders,
  ctx: AdapterContext,
): Promise<UndoRecord> {
  const { incoming, target, evenIfInUse, carryOver, assertReplaceable } = orders
  // From here on an abort would only hide what was done: the swap takes a moment.
  const { signal } = new AbortController()
  const avoided = [target, ...(incoming === undefined ? [] : [incoming])]
  return inMaintenance(settings, avoided, signal, async (session) => {
    const promotedAt = ctx.now()
    const { live, entry } = await findBoth(session, orders)
    if (live) await assertReplaceable?.(live)
    if (live && !evenIfInUse) await refuseSessions(session, target)
    const kept = live && keptName(target, promotedAt, ctx.randomId(4))
    const statements = entry && carryOver ? await inheritance(session, live, entry.name) : []
    if (kept !== undefined) statements.push(rename(target, kept))
    if (entry) statements.push(rename(entry.name, target))
    const others = live && evenIfInUse ? keepEnding(settings, target, signal) : undefined
    try {
      await inTransaction(session, statements)
    } catch (error) {
      if (!(await isDone(settings, avoided, entry, target))) throw error
    } finally {
      await others?.stop()
    }
    return { engine: ENGINE, target, ...(kept !== undefined && { kept }), promotedAt: promotedAt.toISOString() }
  })
}

/** The database that is there, and the one that takes its place. */
async function findBoth(
  session: Session,
  { incoming, target }: SwapOrders,
): Promise<{ live: DatabaseEntry | undefined; entry: DatabaseEntry | undefined }> {
  const live = await findDatabase(session, target)
  const entry = incoming === undefined ? undefined : await findDatabase(session, incoming)
  const gone = incoming === undefined ? (live ? undefined : target) : entry ? undefined : incoming
  if (gone !== undefined)
    throw new BackupError('UNDO_IMPOSSIBLE', `There is no database ${gone} on the server any more.`)
  return { live, entry }
}

/** What makes of the database `name` the one that takes the place of `live`. */
async function inheritance(session: Session, live: DatabaseEntry | undefined, name: string): Promise<string[]> {
  if (live) return carryOverStatements(session, live, name)
  return [`COMMENT ON DATABASE ${quoteIdentifier(name)} IS NULL`] // instead of the mark of the restore
}

const rename = (from: string, to: string): string =>
  `ALTER DATABASE ${quoteIdentifier(from)} RENAME TO ${quoteIdentifier(to)}`

async function inTransaction(session: Session, statements: readonly string[]): Promise<void> {
  await session.rows('BEGIN')
  try {
    // With this commit everything before it reaches the disk: a restore that is over stays so after a power cut. What
    // waits for the disk already, or for a standby as well, is left as it is.
    await session.rows(
      `SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'`,
    )
    for (const statement of statements) await session.rows(statement)
    await session.rows('COMMIT')
  } catch (error) {
    await session.rows('ROLLBACK').catch(() => {})
    throw error
  }
}

/**
 * Ends the sessions of others again and again. A rename first locks the database, so that nobody can connect any more,
 * and then waits some seconds for those who are: so it is enough to end these meanwhile. No setting of the database is
 * changed that a killed process would leave behind.
 */
function keepEnding(settings: ConnectionSettings, target: string, signal: AbortSignal) {
  let over = false
  const work = inMaintenance(settings, [target], signal, async (session) => {
    while (!over) {
      await endSessions(session, target)
      await sleep(ROUND_MS)
    }
  })
  work.catch(() => {})
  return {
    async stop(): Promise<void> {
      over = true
      await work.catch(() => {}) // then the rename has said that the database is in use
    },
  }
}

/** A connection that broke at the very end leaves open whether the transaction was committed. */
async function isDone(
  settings: ConnectionSettings,
  avoided: readonly string[],
  incoming: DatabaseEntry | undefined,
  target: string,
): Promise<boolean> {
  const { signal } = new AbortController()
  try {
    const now = await inMaintenance(settings, avoided, signal, (session) => findDatabase(session, target))
    return incoming === undefined ? now === undefined : now?.oid === incoming.oid
  } catch {
    return false
  }
}

/** Takes a promote back. What has the name now is kept in its turn. */
export async function undoSwap(
  settings: ConnectionSettings,
  { target, kept }: UndoRecord,
  ctx: AdapterContext,
): Promise<UndoRecord> {
  const orders = { incoming: kept, target, evenIfInUse: false, carryOver: false }
  return swapDatabases(settings, orders, ctx)
}
