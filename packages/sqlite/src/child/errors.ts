import { BackupError } from '@taskflow-backup/core'

/** What an error of SQLite or of the file system means for somebody who wanted to read `file`. */
export function sourceError(error: unknown, file: string): BackupError {
  if (error instanceof BackupError) return error
  const code = String((error as { code?: unknown } | null)?.code ?? '')
  const reason = error instanceof Error ? error.message : String(error)
  const failure = (name: ConstructorParameters<typeof BackupError>[0], retryable = false, hint?: string) =>
    new BackupError(name, `${file}: ${reason}`, { cause: error, retryable, ...(hint && { hint }) })
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new BackupError('SOURCE_MISSING', `There is no file ${file}.`, { cause: error })
  }
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) return failure('SOURCE_BUSY', true)
  if (code === 'SQLITE_NOTADB' || code === 'EISDIR') return failure('SOURCE_NOT_DATABASE')
  if (code.startsWith('SQLITE_CORRUPT')) {
    return failure(
      'SOURCE_UNREADABLE',
      false,
      'The database is damaged: restore a backup, or recover with `sqlite3 FILE .recover`.',
    )
  }
  if (/^SQLITE_(CANTOPEN|READONLY)/.test(code)) {
    const hint =
      'Let this process write to the folder: SQLite needs that even to read a database in WAL mode, or after a crash.'
    return failure('SOURCE_UNREADABLE', false, hint)
  }
  return failure('SOURCE_UNREADABLE')
}
