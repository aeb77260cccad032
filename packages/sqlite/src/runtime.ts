import { BackupError } from '@taskflow-backup/core'

/** better-sqlite3 crashes the whole process on older versions, so this is asked before it is loaded anywhere. */
export function assertRuntime(version: string): void {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 22 || (major === 22 && minor >= 15)) return
  throw new BackupError('RUNTIME_UNSUPPORTED', `Node.js ${version} is too old for the SQLite adapter.`)
}
