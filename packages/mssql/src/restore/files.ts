import { BackupError } from '@taskflow-backup/core'
import type { CheckedOptions } from '../options.ts'
import type { ServerFacts } from '../server-facts.ts'
import { onServer } from '../transfer/names.ts'

/** A row of RESTORE FILELISTONLY, as far as it is used. */
export interface FileListRow {
  readonly LogicalName: string
  readonly PhysicalName: string
  /** D data, L log, S FILESTREAM or memory-optimized data, F full-text. */
  readonly Type: string
  readonly FileId: string | number
}

/** Where a file of the database goes. */
export interface Move {
  readonly logicalName: string
  readonly path: string
}

/** Finds a path for a file. */
export type PlaceFile = (file: FileListRow) => string

/**
 * Places the files of a database that is made anew. Their names carry the id of the work, so that they meet no file of
 * another database, and none that a dropped one left.
 */
export function placeNewFiles(
  { restore }: Pick<CheckedOptions, 'restore'>,
  server: Pick<ServerFacts, 'dataPath' | 'logPath'>,
  { target, workId }: { readonly target: string; readonly workId: string },
): PlaceFile {
  const stem = target.replace(/[^A-Za-z0-9_-]+/g, '_').slice(0, 40)
  const data = restore.dataDirectory ?? server.dataPath
  const log = restore.logDirectory ?? server.logPath ?? data
  return ({ FileId, Type, LogicalName }) => {
    const folder = Type === 'L' ? log : data
    if (folder === null || folder === '')
      throw new BackupError('TARGET_INVALID', `The server tells no folder for the file ${LogicalName}.`, {
        hint: 'Give `restore.dataDirectory` and `restore.logDirectory`.',
      })
    return onServer(folder, `${stem}_${workId}_${FileId}${extensionOf(Type, String(FileId))}`)
  }
}

/** FILESTREAM, memory-optimized data and full-text are folders. */
function extensionOf(type: string, fileId: string): string {
  if (type === 'L') return '.ldf'
  if (type === 'D') return fileId === '1' ? '.mdf' : '.ndf'
  return ''
}

/** Remembers what has been placed: a log or differential may bring files that the full did not have. */
export class Placement {
  readonly #place: PlaceFile
  readonly #placed = new Set<string>()

  constructor(place: PlaceFile) {
    this.#place = place
  }

  /** Moves of those files that no backup before has brought. */
  movesFor(files: readonly FileListRow[]): Move[] {
    return files
      .filter(({ LogicalName }) => !this.#placed.has(LogicalName))
      .map((file) => {
        this.#placed.add(file.LogicalName)
        return { logicalName: file.LogicalName, path: this.#place(file) }
      })
  }
}
