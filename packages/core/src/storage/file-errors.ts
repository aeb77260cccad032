import { BackupError, type ErrorCode } from '../errors.ts'

// What an error of the file system means for somebody who keeps objects in files.

export const errnoOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | null)?.code

/** Below a file there is nothing: `ENOTDIR` says so. */
export const MISSING: readonly string[] = ['ENOENT', 'ENOTDIR']
export const isMissing = (error: unknown): boolean => MISSING.includes(errnoOf(error) ?? '')

export function storageError(error: unknown, what: string): BackupError {
  if (error instanceof BackupError) return error
  const errno = errnoOf(error)
  const codes: Record<string, ErrorCode> = {
    ENOENT: 'OBJECT_MISSING',
    EISDIR: 'OBJECT_MISSING',
    ENOSPC: 'STORAGE_FULL',
    EDQUOT: 'STORAGE_FULL',
    EFBIG: 'STORAGE_FULL',
    EACCES: 'STORAGE_DENIED',
    EPERM: 'STORAGE_DENIED',
    EROFS: 'STORAGE_READ_ONLY',
    ABORT_ERR: 'ABORTED',
  }
  const retryable = ['EAGAIN', 'EBUSY', 'EIO', 'EMFILE', 'ENFILE', 'ESTALE', 'ETIMEDOUT'].includes(errno ?? '')
  const reason = error instanceof Error ? error.message : String(error)
  return new BackupError(codes[errno ?? ''] ?? 'STORAGE_FAILED', `${what}: ${reason}`, { cause: error, retryable })
}
