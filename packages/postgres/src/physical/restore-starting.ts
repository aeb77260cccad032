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
import { removeLeftoversBeside } from './restore-leftovers.ts'
import { exists, type RestoreRecord, STARTING_PREFIX } from './restore-places.ts'
import { undoStart } from './restore-start.ts'

/** A server writes there with which arguments it was started. */
const STARTED_WITH = 'postmaster.opts'
const ANSWER_MS = 3_000
/** How long a server with nothing to do may take for its last checkpoint. */
const STOP_MS = 30_000

/** What has to be known of a start to take it back when the process that is at it gets killed. */
export interface StartFacts {
  /** Folder of the server's socket, log and configuration. */
  readonly startIn: string
  /** The data directory, wherever it is at present: see {@link folderIdentity}. */
  readonly cluster: string
  readonly record: UndoRecord
  readonly outside: RestoreRecord['outside']
  readonly login: Pick<ConnectionSettings, 'user' | 'database'>
}

/** What stays the same when a folder is renamed; empty when there is none. */
export async function folderIdentity(path: string): Promise<string> {
  return String((await fs.stat(path, { bigint: true }).catch(() => undefined))?.ino ?? '')
}

/**
 * Notes that a restored cluster is being put into its place to start a server on it, where a prune looks: the cluster
 * itself may be anywhere. Whoever has started it removes the folder.
 */
export async function noteStart(facts: StartFacts, ctx: AdapterContext): Promise<string> {
  const folder = join(ctx.temporaryDirectory, STARTING_PREFIX + ctx.randomId(12))
  await makeOwnedFolder(folder, facts)
  return folder
}

/**
 * Takes back the restores that were killed while they started a server in the final place: ends the server, puts what
 * was there before where it was, and removes the rest. A server that somebody is connected to, or that somebody else has
 * started since, is left alone for good. A cluster on which nobody has started a server yet stays as well, and is told
 * of every time until somebody does.
 */
export async function removeUnfinishedStarts(options: CheckedOptions, ctx: AdapterContext): Promise<string[]> {
  const removed: string[] = []
  for await (const { folder, facts } of unfinishedStarts(ctx)) {
    try {
      if (facts && (await isWaiting(facts))) {
        ctx.onWarning(explain(facts.record))
        continue
      }
      if (facts) removed.push(...(await takeBackStart(options, facts, ctx)))
      await fs.rm(folder, { recursive: true, force: true })
      removed.push(folder)
    } catch (error) {
      const what = facts?.record.target ?? folder
      ctx.onWarning(`Could not remove ${what}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return removed
}

/** What there is to know of a cluster at `target` that a killed restore put there and nobody has started yet. */
export async function explainWaiting(target: string, ctx: AdapterContext): Promise<string | undefined> {
  for await (const { facts } of unfinishedStarts(ctx))
    if (facts?.record.target === target && (await isWaiting(facts))) return explain(facts.record)
  return undefined
}

async function* unfinishedStarts({ temporaryDirectory }: AdapterContext) {
  for (const name of await fs.readdir(temporaryDirectory).catch((): string[] => [])) {
    const folder = join(temporaryDirectory, name)
    if (!name.startsWith(STARTING_PREFIX) || !(await isOwn(folder)) || !(await isAbandonedFolder(folder))) continue
    yield { folder, facts: await folderOwner<StartFacts>(folder) }
  }
}

const isInPlace = async ({ cluster, record }: StartFacts): Promise<boolean> =>
  (await folderIdentity(record.target)) === cluster

/** The cluster is where it belongs, and no server was started on it by anybody. */
async function isWaiting(facts: StartFacts): Promise<boolean> {
  if (!(await isInPlace(facts)) || (await exists(join(facts.record.target, STARTED_WITH)))) return false
  return (await postmastersIn(facts.startIn)).length === 0
}

function explain(record: UndoRecord): string {
  return `A restore was killed after it had put its cluster at ${record.target}, and before it started a server there: the cluster is whole and checked, and does not run. Start it as your system does, or take it back: undoRestore(plan, ${JSON.stringify(record)}).`
}

/** What it says is believed: others may write to the folder for temporary files as well. */
async function isOwn(folder: string): Promise<boolean> {
  const found = await fs.lstat(folder).catch(() => undefined)
  return found?.isDirectory() === true && (!process.getuid || found.uid === process.getuid())
}

/** Returns what was removed; nothing when the cluster is left where it is. */
async function takeBackStart(options: CheckedOptions, facts: StartFacts, ctx: AdapterContext): Promise<string[]> {
  const { startIn, record, outside, login } = facts
  const { target, kept } = record
  const leave = (why: string): string[] => {
    ctx.onWarning(`A restore was killed while it started a server on ${target}; it is left there: ${why}.`)
    return []
  }
  const startedWith = await fs.readFile(join(target, STARTED_WITH), 'utf8').catch(() => '')
  const pids = await postmastersIn(startIn)
  if (pids.length === 0 && !startedWith.includes(`${startIn}/`)) {
    await fs.rm(startIn, { recursive: true, force: true })
    // Somebody else has started it; or the swap was not done, and its folder may lie where no prune looks.
    return removeLeftoversBeside(target, ctx)
  }
  if (!(await isInPlace(facts))) return leave('something else is in its place now')
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
  return [target]
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
