import { BackupError } from '@taskflow-backup/core'

/** Says that a file is not as SQL Server wrote it. `at` is an offset in the file, in bytes. */
export function flaw(what: string, at: number, message: string): BackupError {
  return new BackupError('MEMBER_DAMAGED', `${what} is no whole backup of SQL Server: ${message} (at byte ${at}).`, {
    details: { offset: at },
  })
}
