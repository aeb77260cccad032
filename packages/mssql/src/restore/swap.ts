import { type AdapterContext, BackupError, type UndoRecord } from '@taskflow-backup/core'
import type { SqlSession } from '../session.ts'
import {
  multiUserStatement,
  renameDatabaseStatement,
  singleUserStatement,
  useStatement,
} from '../statements/database.ts'
import type { DatabaseFactsRow } from '../statements/queries/databases.ts'
import { giveBackAccess, insist } from './databases.ts'
import { keptDatabaseName, parseKeptName } from './names.ts'
import { assertReplaceable, findDatabase, refuseSessions } from './target.ts'
import type { RestoreWork } from './work.ts'

export interface SwapOrders {
  /** Database that gets the name `target`; `undefined` when nothing shall have it. */
  readonly incoming: string | undefined
  readonly target: string
  /** False: nothing may have the name `target`. */
  readonly overwrite: boolean
  readonly evenIfInUse: boolean
  /**
   * `incoming` was made by this work: whoever is in it may be sent away. False: it is one that was kept, and its name is
   * that of {@link keptDatabaseName}, or was given by its owner.
   */
  readonly isOurs: boolean
}

interface Swap {
  readonly target: string
  readonly incoming: DatabaseFactsRow | undefined
  readonly live: DatabaseFactsRow | undefined
  /** What the live database is called afterwards. */
  readonly kept: string | undefined
}

/**
 * Gives `incoming` the name `target`, and what has that name another one, under which it is kept. Names cannot be
 * exchanged in one transaction: when a step fails, those before it are taken back.
 *
 * @throws `DATABASE_IN_USE`, `UNDO_IMPOSSIBLE`, `TARGET_EXISTS`, `TARGET_INVALID`
 */
export async function swapDatabases(
  work: RestoreWork,
  orders: SwapOrders,
  ctx: AdapterContext,
): Promise<Pick<UndoRecord, 'target' | 'kept' | 'promotedAt'>> {
  const { target, overwrite, evenIfInUse, isOurs } = orders
  const promotedAt = ctx.now()
  const session = await work.session()
  const { live, incoming } = await findBoth(session, orders)
  if (live) assertReplaceable(live, overwrite)
  if (live && !evenIfInUse) await refuseSessions(session, target)
  if (incoming && !isOurs) await refuseSessions(session, incoming.name)
  const kept = live && keptDatabaseName(target, laterThan(incoming?.name, promotedAt), work.id)
  const swap = { target, incoming, live, kept }
  try {
    await exchange(session, swap, orders)
  } catch (error) {
    if (!(await settle(work, swap, ctx))) throw error
  }
  return { target, ...(kept !== undefined && { kept }), promotedAt: promotedAt.toISOString() }
}

async function findBoth(
  session: SqlSession,
  { incoming, target }: SwapOrders,
): Promise<Pick<Swap, 'live' | 'incoming'>> {
  const live = await findDatabase(session, target)
  const found = incoming === undefined ? undefined : await findDatabase(session, incoming)
  const gone = incoming === undefined ? (live ? undefined : target) : found ? undefined : incoming
  if (gone !== undefined)
    throw new BackupError('UNDO_IMPOSSIBLE', `There is no database ${gone} on the server any more.`)
  return { live, incoming: found }
}

/** After a kill, the later one of two names tells which database was live: they count in seconds. */
function laterThan(incoming: string | undefined, now: Date): Date {
  const keptAt = incoming === undefined ? undefined : parseKeptName(incoming)?.keptAt
  return keptAt === undefined ? now : new Date(Math.max(now.getTime(), keptAt + 1000))
}

/** No statement of it is ended by an abort: it takes a moment, and a half of it is worse than all or nothing. */
async function exchange(
  session: SqlSession,
  { target, incoming, live, kept }: Swap,
  { evenIfInUse, isOurs }: SwapOrders,
): Promise<void> {
  if (incoming && isOurs)
    await session.run(`${singleUserStatement(incoming.name, 'rollback')} ${multiUserStatement(incoming.name)}`)
  // Shows to whoever comes after a kill that the live one was about to be renamed, when it is found in single-user mode.
  else if (incoming && live) await session.run(singleUserStatement(incoming.name, 'no-wait'))
  if (live && kept !== undefined) {
    await takeSeat(session, live.name)
    const rename = renameDatabaseStatement(live.name, kept)
    // In one go: a database in single-user mode under its own name is what a process that is killed here must not leave.
    // When nothing takes its place, nothing would show that; then the rename itself refuses those who came meanwhile.
    const alone = incoming ? singleUserStatement(live.name, evenIfInUse ? 'rollback' : 'no-wait') : ''
    await session.run(`${alone} ${rename}`)
    await session.run(useStatement('master'))
  }
  if (incoming) await session.run(renameDatabaseStatement(incoming.name, target))
  if (incoming && !isOurs) await giveBackAccess(session, target, incoming.userAccess)
  if (live && kept !== undefined) await giveBackAccess(session, kept, live.userAccess)
}

/**
 * Goes into the database, so that nobody else takes its only seat before it is renamed. A login that may rename it need
 * not be a user of it; then the seat stays free for that moment.
 */
async function takeSeat(session: SqlSession, database: string): Promise<void> {
  try {
    await session.run(useStatement(database))
  } catch (error) {
    if (session.broken) throw error
  }
}

/** After a failure: ends what was as good as done (then true), or takes back what was done of it. */
async function settle(work: RestoreWork, swap: Swap, { onWarning }: AdapterContext): Promise<boolean> {
  const { target, live, kept, incoming } = swap
  try {
    return await insist(work, async (session) => {
      await session.run(useStatement('master'))
      const done = await isDone(session, swap)
      if (live && kept !== undefined && !done && !(await findDatabase(session, target)))
        await session.run(renameDatabaseStatement(kept, live.name))
      if (live && kept !== undefined) await giveBackAccess(session, done ? kept : live.name, live.userAccess)
      if (incoming) await giveBackAccess(session, done ? target : incoming.name, incoming.userAccess)
      return done
    })
  } catch (error) {
    if (live)
      onWarning(
        `${target} may be left in single-user mode, or be called ${kept}: ${(error as Error).message} The next restore or prune puts that right.`,
      )
    return false
  }
}

/** Whether `incoming` has the name already: an answer that got lost leaves that open. */
async function isDone(session: SqlSession, { target, incoming, kept }: Swap): Promise<boolean> {
  const now = await findDatabase(session, target)
  if (incoming) return now?.databaseId === incoming.databaseId
  return !now && kept !== undefined && (await findDatabase(session, kept)) !== undefined
}
