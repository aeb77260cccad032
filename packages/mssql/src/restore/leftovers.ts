import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { AdapterContext } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { inSession, type SqlSession } from '../session.ts'
import { dropDatabaseStatement, renameDatabaseStatement, singleUserStatement } from '../statements/database.ts'
import { DATABASES_LIKE, type DatabaseRow } from '../statements/queries/databases.ts'
import { workIdOf } from '../transfer/names.ts'
import { deleteOnServer } from '../transfer/server-files.ts'
import { serverLeftovers } from '../transfer/server-leftovers.ts'
import { isWorkDead } from '../work-lock.ts'
import { giveBackAccess } from './databases.ts'
import { KEPT_PATTERN, type OwnName, parseKeptName, parseStagingName, STAGING_PATTERN } from './names.ts'
import { findSharedFolder } from './supply.ts'
import { findDatabase } from './target.ts'

/** A younger file may belong to work on another server that uses the same folder: its lock is there, not here. */
const FILE_MS = 3_600_000

/**
 * Removes what killed backups, restores and undos left: databases that were being restored, temporary files, and
 * exchanges of names that were not ended. Only what belongs to no living process. A server that does not answer is a
 * warning.
 */
export async function removeLeftovers(options: CheckedOptions, ctx: AdapterContext): Promise<string[]> {
  try {
    return await inSession(options, ctx.signal, (session) => clearLeftovers(session, options, ctx))
  } catch (error) {
    ctx.onWarning(`Could not look for left-overs on the server: ${(error as Error).message}`)
    return []
  }
}

/** {@link removeLeftovers} over a session that is there. */
export async function clearLeftovers(
  session: SqlSession,
  options: CheckedOptions,
  ctx: AdapterContext,
): Promise<string[]> {
  const removed: string[] = []
  const attempt = async (what: string, work: () => Promise<string | undefined>): Promise<void> => {
    try {
      const done = await work()
      if (done !== undefined) removed.push(done)
    } catch (error) {
      ctx.onWarning(`Could not put right what was left of ${what}: ${(error as Error).message}`)
    }
  }
  // The newest first: it is the one that was live when an exchange began.
  const kept = (await databasesLike(session, KEPT_PATTERN)).flatMap((row) => {
    const own = parseKeptName(row.name)
    return own ? [{ ...row, own }] : []
  })
  for (const { name, userAccess, own } of kept.sort((a, b) => b.own.keptAt - a.own.keptAt)) {
    if (userAccess === 'SINGLE_USER' && (await isWorkDead(session, own.workId)))
      await attempt(name, () => endExchange(session, options, own))
  }
  for (const { name } of await databasesLike(session, STAGING_PATTERN)) {
    const own = parseStagingName(name)
    if (own && (await isWorkDead(session, own.workId)))
      await attempt(name, () => dropStaging(session, options, own, ctx))
  }
  await removeFiles(session, options, ctx, removed)
  await attempt('backups on the server', async () => {
    for (const path of await serverLeftovers(session, options.transfer))
      await attempt(path, async () => {
        await deleteOnServer(session, path)
        return path
      })
    return undefined
  })
  return removed
}

const databasesLike = (session: SqlSession, pattern: string): Promise<DatabaseRow[]> =>
  session.rows<DatabaseRow>(DATABASES_LIKE, { pattern })

/**
 * It got its name, and nothing after that was done: it gets its old name back unless another has taken it. Or it was to
 * get its old name back by an undo, which may have ended before the live one got another.
 */
async function endExchange(session: SqlSession, options: CheckedOptions, own: OwnName): Promise<string> {
  const target = targetOf(own, options)
  const live = await findDatabase(session, target)
  if (live) {
    if (live.userAccess === 'SINGLE_USER') await giveBackAccess(session, target, 'MULTI_USER')
    await giveBackAccess(session, own.name, 'MULTI_USER')
    return `single-user mode of ${own.name}`
  }
  await session.run(renameDatabaseStatement(own.name, target))
  await giveBackAccess(session, target, 'MULTI_USER')
  return `name ${own.name} of ${target}`
}

async function dropStaging(
  session: SqlSession,
  options: CheckedOptions,
  own: OwnName,
  ctx: AdapterContext,
): Promise<string | undefined> {
  const target = targetOf(own, options)
  const live = await findDatabase(session, target)
  if (live && live.state === 'RESTORING') {
    ctx.onWarning(
      `A restore over ${target} did not end, and ${target} is RESTORING. ${own.name} may be the only whole copy, so it stays: drop ${target} and give ${own.name} its name, or drop ${own.name}.`,
    )
    return undefined
  }
  // Killed when it was about to be renamed.
  if (live?.userAccess === 'SINGLE_USER') await giveBackAccess(session, target, 'MULTI_USER')
  const there = await findDatabase(session, own.name)
  const drop = dropDatabaseStatement(own.name)
  await session.run(there?.state === 'ONLINE' ? `${singleUserStatement(own.name, 'rollback')} ${drop}` : drop)
  return `database ${own.name}`
}

/** A name that was cut is that of the plan's database when it begins like it. */
const targetOf = ({ stem, isCut }: OwnName, { database }: CheckedOptions): string =>
  isCut && database.startsWith(stem) ? database : stem

async function removeFiles(
  session: SqlSession,
  { transfer }: CheckedOptions,
  { now, onWarning }: AdapterContext,
  removed: string[],
): Promise<void> {
  const folder = findSharedFolder(transfer)?.localDirectory
  if (folder === undefined) return
  for (const name of await readdir(folder).catch((): string[] => [])) {
    const workId = workIdOf(name)
    if (workId === undefined) continue
    const path = join(folder, name)
    const found = await stat(path).catch(() => undefined)
    if (!found) continue
    const isYoung = now().getTime() - found.mtimeMs < FILE_MS
    if (isYoung || !(await isWorkDead(session, workId))) continue
    try {
      await rm(path, { force: true })
      removed.push(path)
    } catch (error) {
      onWarning(`Could not remove ${path}: ${(error as Error).message}`)
    }
  }
}
