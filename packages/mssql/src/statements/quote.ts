import { BackupError } from '@taskflow-backup/core'

/** Longest name that SQL Server knows (`sysname`), in UTF-16 code units. */
export const MAX_NAME = 128

/** Longest path or URL of a backup device or database file, in UTF-16 code units. */
const MAX_PATH = 259

/** `[name]`, whatever is in it. Independent of QUOTED_IDENTIFIER. */
export function identifier(name: string): string {
  refuseUnquotable('name', name)
  if (name.length === 0 || name.length > MAX_NAME)
    throw new BackupError('OPTIONS_INVALID', `A name must have 1 to ${MAX_NAME} characters, not ${name.length}.`)
  return `[${name.replaceAll(']', ']]')}]`
}

/** `N'text'`, whatever is in it. Always national: in a varchar the server would turn look-alikes of `'` into `'`. */
export function literal(text: string): string {
  refuseUnquotable('text', text)
  return `N'${text.replaceAll("'", "''")}'`
}

/** {@link literal} of a path or URL that the server is to open. */
export function pathLiteral(path: string): string {
  if (typeof path !== 'string' || path.length === 0 || path.length > MAX_PATH)
    throw new BackupError('OPTIONS_INVALID', `The path ${JSON.stringify(path)} must have 1 to ${MAX_PATH} characters.`)
  return literal(path)
}

/** An unsigned whole number within its limits, as the digits that go into a statement. */
export function wholeNumber(what: string, value: number, min: number, max: number): string {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new BackupError('OPTIONS_INVALID', `${what} must be a whole number from ${min} to ${max}, not ${value}.`)
  return String(value)
}

/** The server reads a backslash before the end of a line as "goes on in the next", and drops both. */
function refuseUnquotable(what: string, text: string): void {
  if (typeof text !== 'string' || text.includes('\0') || /\\\r?\n/.test(text)) {
    throw new BackupError(
      'OPTIONS_INVALID',
      `A ${what} for the server must be a text without null characters, and without a backslash before a line break.`,
    )
  }
}
