import { resolve } from 'node:path'
import { BackupError } from '@taskflow-backup/core'

/** What {@link sqlite} takes. */
export interface SqliteOptions {
  /** Path of the database file. A relative path counts from the working directory at the time of the call. */
  readonly file: string
  /** How long SQLite waits for a lock, in milliseconds. Default: 5,000. */
  readonly busyTimeoutMs?: number
  /**
   * Longest time for which a backup of a database in rollback-journal mode may keep writers waiting, in milliseconds.
   * In WAL mode a backup keeps nobody waiting. Default: 10,000.
   */
  readonly maxWriterBlockMs?: number
  /**
   * After this many milliseconds the rest of the image is copied to a temporary file, so that a slow destination does
   * not keep the write-ahead log from shrinking. Default: 30,000.
   */
  readonly releaseAfterMs?: number
  /**
   * `auto` reads the file in a single pass wherever that is sound. `online-backup` always uses SQLite's own backup into
   * a temporary copy: slower, for comparison. With it the log cannot be followed. Default: `auto`.
   */
  readonly image?: 'auto' | 'online-backup'
}

export type CheckedOptions = Required<SqliteOptions>

const KNOWN = ['file', 'busyTimeoutMs', 'maxWriterBlockMs', 'releaseAfterMs', 'image']

/**
 * Fills in defaults and makes the path absolute.
 *
 * @throws `OPTIONS_INVALID` naming every bad option, `SOURCE_IN_MEMORY`
 */
export function checkOptions(options: SqliteOptions): CheckedOptions {
  const {
    file,
    busyTimeoutMs = 5_000,
    maxWriterBlockMs = 10_000,
    releaseAfterMs = 30_000,
    image = 'auto',
  } = options ?? {}
  if (file === ':memory:' || file === '') {
    throw new BackupError('SOURCE_IN_MEMORY', `There is no file behind the database ${JSON.stringify(file)}.`)
  }
  const problems: string[] = []
  if (typeof file !== 'string' || file.includes('\0')) problems.push('file: must be a path')
  else if (file.startsWith('file:')) problems.push('file: must be a plain path, not a URI')
  for (const [name, value] of Object.entries({ busyTimeoutMs, maxWriterBlockMs, releaseAfterMs })) {
    if (typeof value !== 'number' || !(value >= 0)) problems.push(`${name}: must be a number of milliseconds`)
  }
  if (image !== 'auto' && image !== 'online-backup') problems.push('image: must be "auto" or "online-backup"')
  for (const name of Object.keys(options ?? {})) if (!KNOWN.includes(name)) problems.push(`${name}: is not an option`)
  if (problems.length > 0) {
    throw new BackupError('OPTIONS_INVALID', `sqlite() has bad options: ${problems.join('; ')}.`, { details: problems })
  }
  return { file: resolve(file), busyTimeoutMs, maxWriterBlockMs, releaseAfterMs, image }
}
