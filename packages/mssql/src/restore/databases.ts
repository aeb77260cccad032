import { setTimeout as sleep } from 'node:timers/promises'
import type { SqlSession } from '../session.ts'
import {
  dropDatabaseStatement,
  multiUserStatement,
  restrictedUserStatement,
  singleUserStatement,
} from '../statements/database.ts'
import type { DatabaseFactsRow } from '../statements/queries/databases.ts'
import { findDatabase } from './target.ts'
import type { RestoreWork } from './work.ts'

const ROUNDS = 5
const ROUND_MS = 200

/**
 * Does what must not be left undone: again, over a new connection if need be. A server that has just lost a client, or
 * was told to stop, needs a moment to take back what that client was doing.
 */
export async function insist<T>(work: RestoreWork, task: (session: SqlSession) => Promise<T>): Promise<T> {
  for (let round = 1; ; round++) {
    try {
      return await task(await work.session())
    } catch (error) {
      if (round === ROUNDS) throw error
      await sleep(ROUND_MS)
    }
  }
}

/** Drops a database of ours with its files, also when it is half restored, or somebody looks at it. */
export const dropDatabase = (work: RestoreWork, name: string): Promise<void> =>
  insist(work, async (session) => {
    const there = await findDatabase(session, name)
    if (!there) return
    const drop = dropDatabaseStatement(name)
    await session.run(there.state === 'ONLINE' ? `${singleUserStatement(name, 'rollback')} ${drop}` : drop)
  })

/** Lets those into a database again whom its access let in before. */
export async function giveBackAccess(
  session: SqlSession,
  name: string,
  access: DatabaseFactsRow['userAccess'],
): Promise<void> {
  const there = await findDatabase(session, name)
  if (there?.state !== 'ONLINE' || there.userAccess === access || access === 'SINGLE_USER') return
  const statement = access === 'MULTI_USER' ? multiUserStatement : restrictedUserStatement
  // Whoever has taken the only seat meanwhile is sent away.
  await session.run(statement(name, 'rollback'))
}
