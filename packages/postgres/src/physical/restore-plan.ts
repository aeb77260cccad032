import * as fs from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { type AdapterContext, BackupError, type RestoreRequest, throwIfAborted } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import { findServerProgram, findUser } from '../server/programs.ts'
import type { Owner } from './lay-out-job.ts'
import { checkChain, type RestoreChain } from './restore-chain.ts'
import { refuseRunning } from './restore-in-use.ts'
import { isFree, MOST_SOCKET_FOLDER_BYTES, startedFolder } from './restore-places.ts'
import { explainWaiting } from './restore-starting.ts'
import { type CheckedTarget, checkTarget } from './restore-target.ts'

/** What is known of a restore before anything is made. */
export interface RestorePlan {
  readonly chain: RestoreChain
  readonly target: CheckedTarget
  /** Links followed; absent for a scratch place. */
  readonly dataDirectory: string | undefined
  /** Folder of the server that is to be left running on it. */
  readonly startIn: string | undefined
  readonly runAs: Owner | undefined
  /** Absent when nothing is to be started. */
  readonly program: string | undefined
  readonly evenIfInUse: boolean
}

/**
 * Refuses whatever can be refused before anything is made or fetched.
 *
 * @throws `TARGET_INVALID`, `TARGET_EXISTS`, `DATABASE_IN_USE`, `ENGINE_MISMATCH`, `PROGRAM_MISSING`, `OPTIONS_INVALID`
 */
export async function planRestore(
  options: CheckedOptions,
  request: RestoreRequest,
  ctx: AdapterContext,
): Promise<RestorePlan> {
  const chain = checkChain(request.backups)
  const target = checkTarget(options, request)
  const dataDirectory = target.dataDirectory === undefined ? undefined : await realPath(target.dataDirectory)
  const { evenIfInUse } = request
  if (dataDirectory !== undefined) await checkPlace(options, dataDirectory, { ...target, evenIfInUse }, ctx)
  const startIn = target.start && dataDirectory ? startedFolder(dataDirectory, ctx.randomId(8)) : undefined
  if (startIn !== undefined && Buffer.byteLength(startIn) > MOST_SOCKET_FOLDER_BYTES) {
    throw new BackupError('TARGET_INVALID', `${startIn} is too long a path for the socket of a server.`, {
      hint: 'Restore to a shorter path, or without `start`, and start it yourself.',
    })
  }
  for (const [oid, path] of Object.entries(target.tablespaces)) {
    if (!chain.tablespaces.includes(oid))
      throw new BackupError('TARGET_INVALID', `The backup has no tablespace ${oid}.`)
    if (!(await isFree(path))) throw new BackupError('TARGET_EXISTS', `${path}, for tablespace ${oid}, is not empty.`)
  }
  const runAs = await findOwner(options, target, dataDirectory)
  const { serverPrograms } = options.physical
  const program = target.recover ? await findServerProgram(serverPrograms, chain.majorVersion, runAs, ctx) : undefined
  throwIfAborted(ctx.signal)
  return { chain, target, dataDirectory, startIn, runAs, program, evenIfInUse }
}

/** Refuses bad places before anything is touched. */
async function checkPlace(
  options: CheckedOptions,
  directory: string,
  { overwrite, isLive, evenIfInUse }: CheckedTarget & Pick<RestoreRequest, 'evenIfInUse'>,
  ctx: AdapterContext,
): Promise<void> {
  const parent = await fs.stat(dirname(directory)).catch(() => undefined)
  if (!parent?.isDirectory()) throw new BackupError('TARGET_INVALID', `There is no folder ${dirname(directory)}.`)
  await fs.access(dirname(directory), fs.constants.W_OK).catch((cause: unknown) => {
    throw new BackupError('TARGET_INVALID', `${dirname(directory)} cannot be written to.`, { cause })
  })
  const there = await fs.stat(directory).catch(() => undefined)
  if (there && !there.isDirectory()) throw new BackupError('TARGET_INVALID', `${directory} is not a folder.`)
  if (there && there.dev !== parent.dev) {
    throw new BackupError('TARGET_INVALID', `${directory} is a file system of its own, which cannot be exchanged.`, {
      hint: 'Let the data directory be a folder inside of it, or restore into a folder inside of it with `to` and move the files.',
    })
  }
  if (there && !overwrite && !(await isFree(directory))) {
    const hint = await explainWaiting(directory, ctx)
    throw new BackupError('TARGET_EXISTS', `${directory} is not empty.`, { ...(hint !== undefined && { hint }) })
  }
  // Looked at again when it is promoted; this look spares the wait.
  if (!evenIfInUse && (there || isLive)) await refuseRunning(options, directory)
}

/** A symbolic link stays a link: the folder that it names is replaced, or made when it is not there. */
async function realPath(path: string): Promise<string> {
  try {
    return await fs.realpath(path)
  } catch {
    const link = await fs.readlink(path).catch(() => undefined)
    if (link !== undefined) return realPath(resolve(dirname(path), link))
    const parent = await fs.realpath(dirname(path)).catch(() => dirname(path))
    return join(parent, basename(path))
  }
}

/** Whom the new cluster belongs to. Only root has a choice, and PostgreSQL does not run as root. */
async function findOwner(
  { physical }: CheckedOptions,
  { recover: isRecovered }: CheckedTarget,
  directory: string | undefined,
): Promise<Owner | undefined> {
  if (process.getuid?.() !== 0) return undefined
  if (physical.runAs) return physical.runAs
  for (const path of [directory, physical.dataDirectory]) {
    const found = path === undefined ? undefined : await fs.stat(path).catch(() => undefined)
    if (found && found.uid !== 0) return { uid: found.uid, gid: found.gid }
  }
  const user = findUser(await fs.readFile('/etc/passwd', 'utf8').catch(() => ''), 'postgres')
  if (user || !isRecovered) return user
  throw new BackupError('OPTIONS_INVALID', 'This process is root, and PostgreSQL refuses to run as root.', {
    hint: 'Give the user who is to run the restored cluster as `physical.runAs`.',
  })
}
