import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  makeOwnedFolder,
  type RestoreRequest,
  type StagedRestore,
} from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { recoverySettings, settingLines } from '../server/settings.ts'
import type { RestoreChain } from './restore-chain.ts'
import { layOutBackups } from './restore-lay-out.ts'
import { clearStaging, removeLeftoversBeside, removeStagings } from './restore-leftovers.ts'
import {
  DATA,
  exists,
  MOST_SOCKET_FOLDER_BYTES,
  RECORD_FILE,
  type RestoreRecord,
  SCRATCH_PREFIX,
  SOCKET_PREFIX,
  stagingFolder,
  syncFolder,
  TABLESPACES,
  writeRecord,
} from './restore-places.ts'
import { planRestore, type RestorePlan } from './restore-plan.ts'
import { type RecoveredCluster, recover } from './restore-server.ts'
import { staged } from './restore-staged.ts'
import { removeUnfinishedStarts } from './restore-starting.ts'
import type { CheckedTarget } from './restore-target.ts'
import { newestTimeline, reserveTimelines } from './restore-timelines.ts'

export { undoRestore } from './restore-swap.ts'

/**
 * Builds the cluster in a folder of its own beside its target, in the same file system, lets a server that nobody else
 * can reach recover it, and leaves that server running for checks.
 *
 * @throws `TARGET_INVALID`, `TARGET_EXISTS`, `DATABASE_IN_USE`, `ENGINE_MISMATCH`, `PROGRAM_MISSING`, `MEMBER_DAMAGED`,
 * `PROGRAM_FAILED`, `POINT_UNREACHABLE`, `ABORTED`
 */
export async function stageRestore(
  options: CheckedOptions,
  request: RestoreRequest,
  ctx: AdapterContext,
): Promise<StagedRestore> {
  const plan = await planRestore(options, request, ctx)
  // A prune looks beside the live cluster only; what a killed restore left at another place goes with the next one.
  await removeLeftovers(options, ctx)
  if (plan.dataDirectory !== undefined) await removeLeftoversBeside(plan.dataDirectory, ctx)
  const folder =
    plan.dataDirectory === undefined
      ? join(ctx.temporaryDirectory, SCRATCH_PREFIX + ctx.randomId(12))
      : stagingFolder(plan.dataDirectory, ctx.randomId(12))
  const sockets = socketFolderFor(folder, ctx)
  await makeOwnedFolder(folder)
  let cluster: RecoveredCluster | undefined
  const discard = async (): Promise<void> => {
    await cluster?.server.quit()
    await clearStaging(folder, ctx.onWarning)
    if (sockets !== folder) await fs.rm(sockets, { recursive: true, force: true })
  }
  try {
    if (sockets !== folder) await makeOwnedFolder(sockets)
    for (const one of new Set([folder, sockets])) if (plan.runAs) await fs.chown(one, plan.runAs.uid, plan.runAs.gid)
    const outside = await placesOutside(plan.target)
    await writeRecord(folder, RECORD_FILE, { outside } satisfies RestoreRecord)
    await layOut(plan, folder, ctx)
    const reserved = await reserve(options, plan, folder)
    cluster = plan.program === undefined ? undefined : await start(options, plan, plan.program, folder, sockets, ctx)
    if (cluster) for (const file of reserved) await fs.rm(file, { force: true })
    return staged(options, plan, { folder, outside, cluster, discard }, ctx)
  } catch (error) {
    await discard()
    throw error
  }
}

/** Removes what killed restores left, of this adapter's live cluster and of those for checks. */
export async function removeLeftovers(options: CheckedOptions, ctx: AdapterContext): Promise<string[]> {
  return [...(await removeUnfinishedStarts(options, ctx)), ...(await removeStagings(options, ctx))]
}

function socketFolderFor(folder: string, ctx: AdapterContext): string {
  if (Buffer.byteLength(folder) <= MOST_SOCKET_FOLDER_BYTES) return folder
  const name = SOCKET_PREFIX + ctx.randomId(12)
  const candidates = [ctx.temporaryDirectory, tmpdir(), '/tmp'].map((parent) => join(parent, name))
  return candidates.find((path) => Buffer.byteLength(path) <= MOST_SOCKET_FOLDER_BYTES) ?? join('/tmp', name)
}

async function placesOutside({ tablespaces }: CheckedTarget): Promise<RestoreRecord['outside']> {
  return Promise.all(Object.values(tablespaces).map(async (path) => ({ path, found: await exists(path) })))
}

async function layOut(
  { chain, target, runAs, program }: RestorePlan,
  folder: string,
  ctx: AdapterContext,
): Promise<void> {
  const { bavail, bsize } = await fs.statfs(folder)
  if (bavail * bsize < chain.plainBytes) {
    throw new BackupError('TARGET_INVALID', `${dirname(folder)} has no room for ${chain.plainBytes} bytes.`, {
      hint: 'Free space there, or restore to another place with `to`.',
    })
  }
  const inside = chain.tablespaces.filter((oid) => target.tablespaces[oid] === undefined)
  if (inside.length > 0) await fs.mkdir(join(folder, TABLESPACES), { mode: 0o700 })
  if (inside.length > 0 && runAs) await fs.chown(join(folder, TABLESPACES), runAs.uid, runAs.gid)
  const placed = Object.fromEntries(inside.map((oid) => [oid, join(folder, TABLESPACES, oid)]))
  await layOutBackups(
    chain.backups,
    {
      dataDirectory: join(folder, DATA),
      tablespaces: { ...target.tablespaces, ...placed },
      ...(runAs && { owner: runAs }),
      segmentBytes: chain.segmentBytes,
      sync: program === undefined,
    },
    ctx,
  )
  const files: [string, string][] = [['recovery.signal', '']]
  // Whoever starts it has no arguments of ours.
  if (program === undefined) files.push(['postgresql.auto.conf', await withRecovery(chain, target, folder)])
  for (const [name, content] of files) {
    const file = join(folder, DATA, name)
    await fs.writeFile(file, content, { mode: 0o600, flush: true })
    if (runAs) await fs.chown(file, runAs.uid, runAs.gid)
  }
  // Without recovery.signal a server would recover to wherever the log ends.
  if (program === undefined) await syncFolder(join(folder, DATA))
}

async function withRecovery(chain: RestoreChain, target: CheckedTarget, folder: string): Promise<string> {
  const before = await fs.readFile(join(folder, DATA, 'postgresql.auto.conf'), 'utf8').catch(() => '')
  return before + settingLines(recoverySettings(target.goal, target.timeline ?? chain.timeline))
}

/** Sees to it that the restored cluster begins a timeline that neither the live one nor what it replaces has. */
async function reserve(
  { physical }: CheckedOptions,
  { chain, target, dataDirectory, runAs }: RestorePlan,
  folder: string,
): Promise<string[]> {
  if (target.timeline === 'latest') return [] // it would be taken for one that can be followed
  const known = [dataDirectory, physical.dataDirectory].filter((path) => path !== undefined)
  const newest = await Promise.all(known.map((path) => newestTimeline(path, chain.systemIdentifier)))
  return reserveTimelines(join(folder, DATA), target.timeline ?? chain.timeline, Math.max(0, ...newest), runAs)
}

function start(
  options: CheckedOptions,
  { chain, target, runAs }: RestorePlan,
  program: string,
  folder: string,
  socketFolder: string,
  ctx: AdapterContext,
): Promise<RecoveredCluster> {
  return recover(
    options,
    {
      program,
      major: chain.majorVersion,
      dataDirectory: join(folder, DATA),
      folder,
      socketFolder,
      runAs,
      goal: target.goal,
      timeline: target.timeline ?? chain.timeline,
      throwaway: target.dataDirectory === undefined,
    },
    ctx,
  )
}
