import { open, opendir, stat } from 'node:fs/promises'
import { extname, join, resolve } from 'node:path'
import { BackupError, type ErrorCode, throwIfAborted } from '@taskflow-backup/core'
import type { BackupHeader } from './chain.ts'
import { COMPRESSED_MAGIC, TAPE_MAGIC } from './mtf/layout.ts'
import { scanFile, unreadable } from './mtf/scan-file.ts'
import type { MtfFile, MtfMedia, MtfSet } from './mtf/types.ts'

const EXTENSIONS = new Set(['.bak', '.trn', '.dif', '.diff'])

/** Options of {@link catalogueFolder}. */
export interface CatalogueFolderOptions {
  /** Ends the work with `ABORTED`. */
  readonly signal?: AbortSignal
  /** Read every byte of every file, so that a disk that cannot give them is found. Default: false, headers only. */
  readonly everything?: boolean
}

/** A file that looks like a backup but is of no use to a recovery. */
export interface FolderProblem {
  readonly file: string
  readonly code: ErrorCode
  readonly message: string
}

/** The backups that a folder holds. */
export interface BackupFolder {
  /** Ordered by file and place in it. Plan with them what to restore. */
  readonly backups: readonly BackupHeader[]
  readonly problems: readonly FolderProblem[]
}

interface Scanned {
  readonly file: string
  readonly contents: MtfFile
}

/**
 * Finds the backups in a folder and all folders below it, whoever made them, by what the files say about themselves:
 * no server is needed, and names and dates of files do not matter. Every `.bak`, `.trn`, `.dif` and `.diff` is looked
 * at, and every other file that begins like a backup. The stripes of a backup become one header, of several copies of a
 * file the first counts. Links are followed to files, not to folders.
 *
 * Reads off the event loop, one file after the other, with 2 MiB of memory besides the result.
 *
 * @throws `SOURCE_MISSING`, `SOURCE_UNREADABLE` for the folder itself, `ABORTED`; a bad file is a problem in the result
 *
 * @example
 * ```ts no-run
 * // Needs a folder of backups.
 * import { catalogueFolder } from '@taskflow-backup/mssql'
 *
 * const { backups, problems } = await catalogueFolder('/mnt/old-backups')
 * for (const { file, message } of problems) console.warn(file, message)
 * const logs = backups.filter((backup) => backup.kind === 'log')
 * ```
 */
export async function catalogueFolder(folder: string, options: CatalogueFolderOptions = {}): Promise<BackupFolder> {
  const problems: FolderProblem[] = []
  const complain = (file: string, { code, message }: BackupError): void => void problems.push({ file, code, message })
  const scanned: Scanned[] = []
  for (const file of await candidates(resolve(folder), complain, options.signal)) {
    try {
      const contents = await scanFile(file, options)
      if (contents.compressed) throw unreadableHere(file)
      scanned.push({ file, contents })
    } catch (thrown) {
      throwIfAborted(options.signal)
      complain(file, unreadable(thrown, file))
    }
  }
  const backups = groups(scanned).flatMap((stripes) => headersOf(stripes, complain))
  return { backups, problems }
}

/** Every file of the folder that may be a backup, by name. */
async function candidates(
  root: string,
  complain: (file: string, error: BackupError) => void,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const files: string[] = []
  const folders = [root]
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    try {
      for await (const entry of await opendir(folder)) {
        throwIfAborted(signal)
        const path = join(folder, entry.name)
        if (entry.isDirectory()) folders.push(path)
        else if (entry.isFile() || entry.isSymbolicLink()) files.push(path)
      }
    } catch (thrown) {
      if (folder === root || signal?.aborted) throw unreadable(thrown, folder)
      complain(folder, unreadable(thrown, folder))
    }
  }
  const backups: string[] = []
  for (const file of files.sort()) {
    throwIfAborted(signal)
    try {
      if (await mayBeBackup(file)) backups.push(file)
    } catch (thrown) {
      complain(file, unreadable(thrown, file))
    }
  }
  return backups
}

async function mayBeBackup(file: string): Promise<boolean> {
  // Opening a pipe or a device would wait for somebody at its other end.
  if (!(await stat(file)).isFile()) return false
  if (EXTENSIONS.has(extname(file).toLowerCase())) return true
  const handle = await open(file, 'r')
  try {
    const start = Buffer.alloc(COMPRESSED_MAGIC.length)
    const { bytesRead } = await handle.read(start, 0, start.length, 0)
    const text = start.toString('latin1', 0, bytesRead)
    return text === COMPRESSED_MAGIC || text.startsWith(TAPE_MAGIC)
  } finally {
    await handle.close()
  }
}

function unreadableHere(file: string): BackupError {
  return new BackupError(
    'CODEC_UNKNOWN',
    `${file} was compressed or encrypted by the server: only a server can read it.`,
    {
      hint: 'RESTORE HEADERONLY on any SQL Server tells what it holds, RESTORE VERIFYONLY whether it is whole.',
    },
  )
}

/** Files that belong together: the stripes of one media set, each once. */
function groups(scanned: readonly Scanned[]): readonly (readonly Scanned[])[] {
  const bySet = new Map<string, Map<string, Scanned>>()
  for (const one of scanned) {
    const media = one.contents.media as MtfMedia
    const key = media.mediaSetGuid ?? one.file
    const stripes = bySet.get(key) ?? new Map<string, Scanned>()
    bySet.set(key, stripes)
    // A copy of a file says the same as the file; it holds more where somebody appended to it afterwards.
    const stripe = `${media.familyId}/${media.sequence}`
    const known = stripes.get(stripe)
    if (!known || setsIn(one) > setsIn(known)) stripes.set(stripe, one)
  }
  return [...bySet.values()].map((stripes) => [...stripes.values()])
}

const setsIn = ({ contents }: Scanned): number => contents.sets.length + contents.bareSets

function headersOf(
  stripes: readonly Scanned[],
  complain: (file: string, error: BackupError) => void,
): readonly BackupHeader[] {
  const files = stripes.map(({ file }) => file)
  const [withHeaders] = stripes.filter(({ contents }) => contents.sets.length > 0)
  if (!withHeaders) {
    for (const file of files)
      complain(
        file,
        new BackupError('OBJECT_MISSING', `${file} is a stripe of a backup whose header is in another file.`),
      )
    return []
  }
  return withHeaders.contents.sets.flatMap((set) => {
    const odd = stripes.find(({ contents }) => contradicts(set, contents))
    if (!odd) return [toHeader(set, files)]
    const message = `${odd.file} and ${withHeaders.file} are stripes of one media set but tell different things.`
    complain(odd.file, new BackupError('MEMBER_DAMAGED', message))
    return []
  })
}

/** True when a stripe lacks a set that another stripe has, or says something else about it. */
function contradicts(set: MtfSet, { sets, bareSets }: MtfFile): boolean {
  const same = sets.find(({ number }) => number === set.number)
  if (!same) return bareSets === 0
  return same.database !== set.database || same.kind !== set.kind || same.firstLsn !== set.firstLsn
}

function toHeader(set: MtfSet, files: readonly string[]): BackupHeader {
  const { kind, database, server, firstLsn, lastLsn, checkpointLsn, databaseBackupLsn, startedAt, finishedAt } = set
  const { differentialBaseLsn, firstForkGuid, lastForkGuid, forkPointLsn, familyGuid } = set
  return {
    kind,
    database,
    server,
    firstLsn,
    lastLsn,
    checkpointLsn,
    databaseBackupLsn,
    startedAt,
    finishedAt,
    files,
    set: set.number,
    ...(differentialBaseLsn !== undefined && { differentialBaseLsn }),
    ...(firstForkGuid && { firstForkGuid }),
    ...(lastForkGuid && { lastForkGuid }),
    ...(forkPointLsn !== undefined && { forkPointLsn }),
    ...(familyGuid && { familyGuid }),
  }
}
