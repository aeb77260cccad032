import * as fs from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import {
  type AdapterContext,
  BackupError,
  type JsonValue,
  type Manifest,
  makeOwnedFolder,
  type RestoreRequest,
  type StagedRestore,
  throwIfAborted,
  type UndoRecord,
} from '@taskflow-backup/core'
import type { Limit } from './changes/choose-steps.ts'
import { runJob } from './child-process.ts'
import { refuseOpeners } from './in-use.ts'
import type { StateOfFile } from './jobs.ts'
import { removeLeftovers } from './leftovers.ts'
import type { CheckedOptions } from './options.ts'
import { fileIdentity, keptFolder, SCRATCH_PREFIX, stagingFolder } from './places.ts'
import { positionOf } from './position.ts'
import { partsOf, rebuild } from './rebuild.ts'

export const ENGINE = 'sqlite'

/** Builds the database in a folder of its own beside the target, in the same file system. */
export async function stageRestore(
  options: CheckedOptions,
  request: RestoreRequest,
  ctx: AdapterContext,
): Promise<StagedRestore> {
  const place = placeOf(options, request)
  const target = place.file === undefined ? undefined : await checkTarget(place.file, request, ctx)
  const parts = partsOf(request.backups, limitOf(request, place), request.target.kind === 'scratch')
  // A prune looks beside the live database only; what a killed restore left at another place goes with the next one.
  if (target !== undefined) await removeLeftovers(target, ctx)
  const folder = await makeStagingFolder(target, ctx)
  const discard = (): Promise<void> => fs.rm(folder, { recursive: true, force: true })
  const location = join(folder, target === undefined ? 'restored.db' : basename(target))
  let expected: StateOfFile | null
  try {
    await refuseFullDisk(folder, parts.largestBytes)
    throwIfAborted(ctx.signal)
    expected = await rebuild(location, parts, ctx)
  } catch (error) {
    await discard()
    throw error
  }
  return {
    location,
    check: (checkCtx) => runJob('check', { file: location, expected }, checkCtx),
    discard,
    async promote(promoteCtx) {
      if (target === undefined) throw new BackupError('CONTRACT_BROKEN', 'A scratch restore cannot be promoted.')
      return replaceDatabase(options, { staged: location, target, evenIfInUse: request.evenIfInUse }, promoteCtx)
    },
  }
}

interface Place {
  /** Absent for a scratch place. */
  readonly file?: string
  readonly stopAtCommit?: number
}

/** Where the restore goes. A place of its own is a path, or an object with a path and the commit to stop at. */
function placeOf(options: CheckedOptions, { target }: RestoreRequest): Place {
  if (target.kind === 'scratch') return {}
  if (target.kind === 'live') return { file: options.file }
  return ownPlace(target.to)
}

/** The position to stop at, where a place names a commit. @throws `TARGET_INVALID` */
export function stopPosition(to: JsonValue, full: Manifest): string | undefined {
  const { stopAtCommit } = ownPlace(to)
  return stopAtCommit === undefined ? undefined : positionOf(full.id, stopAtCommit)
}

function ownPlace(to: JsonValue): Place {
  const isObject = typeof to === 'object' && to !== null && !Array.isArray(to)
  const { file, stopAtCommit, ...unknown } = (isObject ? to : { file: to }) as { readonly [name: string]: JsonValue }
  if (typeof file !== 'string' || file === '' || file.includes('\0')) {
    throw new BackupError('TARGET_INVALID', '`to` must be the path of a file, or have it as `file`.')
  }
  const [name] = Object.keys(unknown)
  if (name !== undefined) throw new BackupError('TARGET_INVALID', `\`to\` has \`${name}\`, which is not known.`)
  if (stopAtCommit === undefined) return { file }
  if (!Number.isSafeInteger(stopAtCommit) || (stopAtCommit as number) < 0) {
    throw new BackupError('TARGET_INVALID', '`stopAtCommit` must be a whole number from 0 on.')
  }
  return { file, stopAtCommit: stopAtCommit as number }
}

function limitOf({ at }: RestoreRequest, { stopAtCommit }: Place): Limit {
  return { ...(at && { at: at.getTime() }), ...(stopAtCommit !== undefined && { commit: stopAtCommit }) }
}

/** The file that is replaced or made. Refuses bad places before anything is touched. */
async function checkTarget(
  path: string,
  { target, evenIfInUse }: RestoreRequest,
  ctx: AdapterContext,
): Promise<string> {
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
