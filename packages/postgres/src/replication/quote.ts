import { BackupError } from '@taskflow-backup/core'

/** A name, for the replication grammar: without quotes, one like `physical` would be a keyword. */
export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** A text for a command of the replication grammar, which knows no escapes but the doubled quote. */
export function quoteLiteral(text: string): string {
  if (text.includes('\0')) throw new BackupError('INTERNAL', 'A text for the server has a null byte in it.')
  return `'${text.replaceAll("'", "''")}'`
}
