import * as fs from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import {
  type AdapterContext,
  BackupError,
  type ManifestMember,
  makeOwnedFolder,
  type OpenBackup,
  type RestoreRequest,
  type StagedRestore,
  throwIfAborted,
  toBackupError,
  type UndoRecord,
} from '@taskflow-backup/core'
import { runJob, startJob } from './child-process.ts'
import { refuseOpeners } from './in-use.ts'
import { removeLeftovers } from './leftovers.ts'
import { IMAGE_SUFFIX, memberNamed } from './members.ts'
import type { CheckedOptions } from './options.ts'
import { fileIdentity, keptFolder, SCRATCH_PREFIX, stagingFolder } from './places.ts'

export const ENGINE = 'sqlite'

/** Builds the database in a folder of its own beside the target, in the same file system. */
export async function stageRestore(
  options: CheckedOptions,
  request: RestoreRequest,
  ctx: AdapterContext,
): Promise<StagedRestore> {
  const target = await checkTarget(options, request, ctx)
  const [backup] = request.backups
  const member = backup && memberNamed(backup.manifest, IMAGE_SUFFIX)
  if (!backup || !member || request.backups.length !== 1) {
    throw new BackupError('CONTRACT_BROKEN', 'A SQLite restore needs exactly one full backup with one image.')
  }
  // A prune looks beside the live database only; what a killed restore left at another place goes with the next one.
  if (target !== undefined) await removeLeftovers(target, ctx)
  const folder = await makeStagingFolder(target, ctx)
  const discard = (): Promise<void> => fs.rm(folder, { recursive: true, force: true })
  const location = join(folder, target === undefined ? 'restored.db' : basename(target))
  try {
    await refuseFullDisk(folder, member.plain.bytes)
    throwIfAborted(ctx.signal)
    await unpack(location, backup, member, ctx)
  } catch (error) {
    await discard()
    throw error
  }
  return {
    location,
    check: (checkCtx) => runJob('check', { file: location }, checkCtx),
    discard,
    async promote(promoteCtx) {
      if (target === undefined) throw new BackupError('CONTRACT_BROKEN', 'A scratch restore cannot be promoted.')
      return replaceDatabase(options, { staged: location, target, evenIfInUse: request.evenIfInUse }, promoteCtx)
    },
  }
}

/** Where the restore goes; `undefined` for a scratch place. Refuses bad places before anything is touched. */
async function checkTarget(
  options: CheckedOptions,
  { target, evenIfInUse }: RestoreRequest,
  ctx: AdapterContext,
): Promise<string | undefined> {
  if (target.kind === 'scratch') return undefined
  const path = target.kind === 'live' ? options.file : target.to
  if (typeof path !== 'string' || path === '' || path.includes('\0')) {
    throw new BackupError('TARGET_INVALID', '`to` must be the path of a file.')
  }
  const file = await realPath(resolve(path))
  const folder = await fs.stat(dirname(file)).catch(() => undefined)
  if (!folder?.isDirectory()) throw new BackupError('TARGET_INVALID', `There is no folder ${dirname(file)}.`)
  await fs.access(dirname(file), fs.constants.W_OK).catch((cause: unknown) => {
    throw new BackupError('TARGET_INVALID', `${dirname(file)} cannot be written to.`, { cause })
  })
  const there = await fs.stat(file).catch(() => undefined)
  if (there && !there.isFile()) throw new BackupError('TARGET_INVALID', `${file} is not a file.`)
  if (there && target.kind === 'place' && !target.overwrite) throw new BackupError('TARGET_EXISTS', `${file} exists.`)
  // Looked at again when it is promoted; this look spares the wait.
  if (there && !evenIfInUse) refuseOpeners(file, await runJob('openers', { file }, ctx), process.pid)
  return file
}

/** A symbolic link stays a link: the file that it names is replaced, or made when it is not there. */
async function realPath(file: string): Promise<string> {
  try {
    return await fs.realpath(file)
  } catch {
    const link = await fs.readlink(file).catch(() => undefined)
    return link === undefined ? file : realPath(resolve(dirname(file), link))
  }
}

async function makeStagingFolder(target: string | undefined, ctx: AdapterContext): Promise<string> {
  const folder =
    target === undefined
      ? join(ctx.temporaryDirectory, SCRATCH_PREFIX + ctx.randomId(12))
      : stagingFolder(target, ctx.randomId(12))
  await makeOwnedFolder(folder)
  return folder
}

async function refuseFullDisk(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await fs.statfs(folder)
  if (bavail * bsize < bytes) {
    throw new BackupError('TARGET_INVALID', `${dirname(folder)} has no room for ${bytes} bytes.`, {
      hint: 'Free space there, or restore to another place with `to`.',
    })
  }
}

/** Lets a child decode, check and write the member, while this process only hands the stored bytes on. */
async function unpack(file: string, backup: OpenBackup, member: ManifestMember, ctx: AdapterContext): Promise<void> {
  const stored = await backup.openStored(member.name)
  const job = startJob('unpack', { file, member }, ctx)
  const [sent, written] = await Promise.allSettled([pipeline(stored, job.channel), job.result])
  // A storage that failed is the reason for whatever the child says about what it got.
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  if (written.status === 'rejected') throw written.reason
  if (sent.status === 'rejected') throw toBackupError(sent.reason, 'CHILD_FAILED', 'Cannot hand the backup on')
}

/** Swaps a complete database file into the place of `target` and tells how to take it back. */
async function replaceDatabase(
  options: CheckedOptions,
  { staged, target, evenIfInUse }: { staged: string | null; target: string; evenIfInUse: boolean },
  ctx: AdapterContext,
): Promise<UndoRecord> {
  const promotedAt = ctx.now()
  const kept = keptFolder(target, promotedAt, ctx.randomId(4))
  const { busyTimeoutMs } = options
  // From here on an abort would only hide what was done: the swap takes milliseconds.
  const settled = { ...ctx, signal: new AbortController().signal }
  const keptFile = join(kept, basename(target))
  const before = staged === null ? undefined : await fileIdentity(staged)
  let keptDatabase: boolean
  try {
    ;({ keptDatabase } = await runJob('swap', { staged, target, kept, evenIfInUse, busyTimeoutMs }, settled))
  } catch (error) {
    // Killed by somebody between the swap and its answer, it has done its work all the same.
    keptDatabase = (await fileIdentity(keptFile)) !== undefined
    const done = (await fileIdentity(target)) === before && (before !== undefined || keptDatabase)
    if (!done) throw error
  }
  return { engine: ENGINE, target, ...(keptDatabase && { kept: keptFile }), promotedAt: promotedAt.toISOString() }
}

/** Takes a promote back. What is at the target now is kept in its turn. */
export async function undoRestore(
  options: CheckedOptions,
  record: UndoRecord,
  ctx: AdapterContext,
): Promise<UndoRecord> {
  const { kept, target } = record
  if (kept !== undefined && !(await fs.stat(kept).catch(() => undefined))?.isFile()) {
    throw new BackupError('UNDO_IMPOSSIBLE', `The kept database is not at ${kept} any more.`)
  }
  const undone = await replaceDatabase(options, { staged: kept ?? null, target, evenIfInUse: false }, ctx)
  if (kept !== undefined) await fs.rmdir(dirname(kept)).catch(() => {}) // stays when somebody put something there
  return undone
}
