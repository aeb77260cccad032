import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  folderOwner,
  isAbandonedFolder,
  makeOwnedFolder,
  type UndoRecord,
} from '@taskflow-backup/core'
import { type ConnectionSettings, withSession } from '../connection.ts'
import type { CheckedOptions } from '../options.ts'
import { endProcess, postmastersIn, runningPostmaster } from '../server/postmaster.ts'
import { STAGED_PORT } from '../server/settings.ts'
import { exists, type RestoreRecord, STARTING_PREFIX } from './restore-places.ts'
import { undoStart } from './restore-start.ts'

const ANSWER_MS = 3_000
/** How long a server with nothing to do may take for its last checkpoint. */
const STOP_MS = 30_000

/** What has to be known of a start to take it back when the process that is at it gets killed. */
export interface StartFacts {
  /** Folder of the server's socket, log and configuration. */
  readonly startIn: string
  readonly record: UndoRecord
  readonly outside: RestoreRecord['outside']
  readonly login: Pick<ConnectionSettings, 'user' | 'database'>
}

/**
 * Notes that a server is being started on a restored cluster, where a prune looks: the cluster itself may be anywhere.
 * Whoever has started it removes the folder.
 */
export async function noteStart(facts: StartFacts, ctx: AdapterContext): Promise<string> {
  const folder = join(ctx.temporaryDirectory, STARTING_PREFIX + ctx.randomId(12))
  await makeOwnedFolder(folder, facts)
  return folder
}

/**
 * Takes back the restores that were killed while they started a server in the final place: ends the server, puts what
 * was there before where it was, and removes the rest. A server that somebody is connected to, or that somebody else has
 * started since, is left alone for good. One that was killed before the server was started is a restore like any other:
 * its cluster stays.
 */
export async function removeUnfinishedStarts(options: CheckedOptions, ctx: AdapterContext): Promise<string[]> {
  const removed: string[] = []
  for (const name of await fs.readdir(ctx.temporaryDirectory).catch((): string[] => [])) {
    const folder = join(ctx.temporaryDirectory, name)
    if (!name.startsWith(STARTING_PREFIX) || !(await isOwn(folder)) || !(await isAbandonedFolder(folder))) continue
    const facts = await folderOwner<StartFacts>(folder)
    try {
      if (facts && (await takeBackStart(options, facts, ctx))) removed.push(facts.record.target)
      await fs.rm(folder, { recursive: true, force: true })
      removed.push(folder)
    } catch (error) {
      const what = facts?.record.target ?? folder
      ctx.onWarning(`Could not remove ${what}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return removed
}

/** What it says is believed: others may write to the folder for temporary files as well. */
async function isOwn(folder: string): Promise<boolean> {
  const found = await fs.lstat(folder).catch(() => undefined)
  return found?.isDirectory() === true && (!process.getuid || found.uid === process.getuid())
}

/** False when the cluster is left where it is. */
async function takeBackStart(
  options: CheckedOptions,
  { startIn, record, outside, login }: StartFacts,
  ctx: AdapterContext,
): Promise<boolean> {
  const { target, kept } = record
  const leave = (why: string): false => {
    ctx.onWarning(`A restore was killed while it started a server on ${target}; it is left there: ${why}.`)
    return false
  }
  // The server writes there with which arguments it was started last.
  const startedWith = await fs.readFile(join(target, 'postmaster.opts'), 'utf8').catch(() => '')
  const pids = await postmastersIn(startIn)
  if (pids.length === 0 && !startedWith.includes(`${startIn}/`)) {
    await fs.rm(startIn, { recursive: true, force: true })
    return false
  }
  const running = (await runningPostmaster(target)) ?? pids[0]
  const sessions = await countSessions(startIn, login)
  if (sessions !== undefined && running === undefined) return leave('its server runs where it cannot be stopped from')
  if (sessions !== undefined && sessions > 0) return leave('somebody is connected')
  if (kept !== undefined && !(await exists(kept))) return leave(`what it replaced is not at ${kept} any more`)
  // Whoever connects in this moment may finish: SIGTERM lets sessions end by themselves.
  if (running !== undefined && !(await endProcess(running, 'SIGTERM', STOP_MS)))
    throw new BackupError('DATABASE_IN_USE', `its server (process ${running}) has not stopped`)
  await undoStart(options, record, outside, ctx)
  await fs.rm(startIn, { recursive: true, force: true })
  return true
}

/** Of others; `undefined` when no server answers there, or not yet. */
async function countSessions(startIn: string, login: StartFacts['login']): Promise<number | undefined> {
  const settings = { ...login, host: startIn, port: STAGED_PORT, tls: false, connectTimeoutMs: ANSWER_MS } as const
  try {
    return await withSession(settings, async (client) => {
      const { rows } = await client.query<{ sessions: number }>(
        `SELECT count(*)::int AS sessions FROM pg_stat_activity
         WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()`,
      )
      return rows[0]?.sessions ?? 0
    })
  } catch (error) {
    // Whatever else it refuses us for, it may serve others.
    return error instanceof BackupError && error.code === 'SERVER_UNREACHABLE' ? undefined : Number.POSITIVE_INFINITY
  }
}
