import { BackupError, type ErrorCode } from '@taskflow-backup/core'
import type { ConnectionSettings } from './connection.ts'

type Mapping = readonly [code: ErrorCode, retryable?: boolean]

/** What a SQLSTATE, or an error of the socket, means to the user of a backup. */
const BY_CODE: { readonly [code: string]: Mapping } = {
  // SQLSTATE
  '28000': ['SERVER_REFUSED'],
  '28P01': ['SERVER_REFUSED'],
  '3D000': ['SOURCE_MISSING'],
  '42501': ['PRIVILEGE_MISSING'],
  '53300': ['SERVER_BUSY', true],
  '53400': ['SERVER_BUSY', true],
  '55006': ['DATABASE_IN_USE', true],
  '55P03': ['SOURCE_BUSY', true],
  '57P01': ['SERVER_UNREACHABLE', true],
  '57P02': ['SERVER_UNREACHABLE', true],
  '57P03': ['SERVER_UNREACHABLE', true],
  // Node.js
  ECONNREFUSED: ['SERVER_UNREACHABLE', true],
  ECONNRESET: ['SERVER_UNREACHABLE', true],
  EPIPE: ['SERVER_UNREACHABLE', true],
  ENOENT: ['SERVER_UNREACHABLE'],
  ENOTFOUND: ['SERVER_UNREACHABLE'],
  EAI_AGAIN: ['SERVER_UNREACHABLE', true],
  ETIMEDOUT: ['SERVER_UNREACHABLE', true],
}

/**
 * Makes a `BackupError` of what `pg` throws. Its cause is rebuilt from the fields of the server's message: the driver's
 * own error objects may hold the connection's parameters.
 */
export function toConnectionError(thrown: unknown, settings: ConnectionSettings): BackupError {
  if (thrown instanceof BackupError) return thrown
  const error = thrown instanceof Error ? thrown : new Error(String(thrown))
  const { code: key = '' } = error as { code?: string }
  const ended = /terminated unexpectedly|Connection terminated|timeout expired|Client has encountered/.test(
    error.message,
  )
  const [code, retryable = false]: Mapping = BY_CODE[key] ?? (ended ? ['SERVER_UNREACHABLE', true] : ['SERVER_FAILED'])
  const message = withoutSecret(error.message || key || 'no reason given', settings.password)
  const cause = Object.assign(new Error(message), key && { code: key })
  return new BackupError(code, `${whereOf(settings)}: ${message}`, { cause, retryable })
}

/** The server and the database, for people: without the password. */
function whereOf({ user, host, port, database }: ConnectionSettings): string {
  return `${user}@${host}:${port}/${database}`
}

export function withoutSecret(text: string, secret: string | undefined): string {
  return secret ? text.replaceAll(secret, '***') : text
}
