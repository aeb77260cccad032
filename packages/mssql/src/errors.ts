import { BackupError } from '@taskflow-backup/core'
import {
  BAD_CERTIFICATE,
  BY_CODE,
  BY_NUMBER,
  backupFile,
  CONSEQUENCES,
  DEVICE_ERRORS,
  type Mapping,
  refused,
} from './error-table.ts'

/** What a server said: an error, or something to know. */
export interface ServerMessage {
  readonly number: number
  readonly message: string
}

interface DriverError extends Error {
  readonly code?: unknown
  readonly number?: unknown
  readonly precedingErrors?: readonly DriverError[]
}

/**
 * Makes a `BackupError` of what `mssql` throws. Its code is that of the cause, not of the error that came last (3013,
 * "terminating abnormally"); `details.errors` has all of them in their order. The driver's own error objects are never
 * kept: they may hold the connection's settings. `redact` takes secrets out of every text.
 */
export function toServerError(
  thrown: unknown,
  what: string,
  redact: (text: string) => string = (text) => text,
): BackupError {
  if (thrown instanceof BackupError) return thrown
  const last = (thrown instanceof Error ? thrown : new Error(String(thrown))) as DriverError
  const messages = [...(last.precedingErrors ?? []), last].flatMap((error): ServerMessage[] =>
    typeof error.number === 'number' ? [{ number: error.number, message: redact(error.message) }] : [],
  )
  if (messages.length === 0) return withoutNumber(last, what, redact)
  const cause = causeOf(messages)
  const { code, hint, retryable = false } = meaningOf(cause, messages)
  const others = messages.filter((message) => message !== cause)
  const also =
    others.length === 0
      ? ''
      : ` (also ${others
          .slice(-3)
          .map(({ number, message }) => `${number}: ${message}`)
          .join(' ')})`
  return new BackupError(code, `${what}: ${cause.number}: ${cause.message}${also}`, {
    cause: Object.assign(new Error(cause.message), { number: cause.number }),
    retryable,
    ...(hint !== undefined && { hint }),
    details: { number: cause.number, errors: messages.map((message) => ({ ...message })) },
  })
}

/** The messages behind an error that {@link toServerError} made. */
export function serverErrorsOf(error: unknown): readonly ServerMessage[] {
  const { errors } = ((error as BackupError | undefined)?.details ?? {}) as { errors?: readonly ServerMessage[] }
  return errors ?? []
}

function withoutNumber(error: DriverError, what: string, redact: (text: string) => string): BackupError {
  const key = typeof error.code === 'string' ? error.code : ''
  const message = redact(error.message || key || 'no reason given')
  const {
    code,
    hint,
    retryable = false,
  }: Mapping = (/certificate|altname/i.test(message) ? BAD_CERTIFICATE : BY_CODE[key]) ?? { code: 'SERVER_FAILED' }
  return new BackupError(code, `${what}: ${message}`, {
    cause: Object.assign(new Error(message), key && { code: key }),
    retryable,
    ...(hint !== undefined && { hint }),
  })
}

function causeOf(messages: readonly ServerMessage[]): ServerMessage {
  const causes = messages.filter(({ number }) => !CONSEQUENCES.includes(number))
  const known = causes.find(({ number }) => DEVICE_ERRORS.includes(number) || BY_NUMBER[number])
  return known ?? causes[0] ?? (messages[0] as ServerMessage)
}

function meaningOf({ number, message }: ServerMessage, all: readonly ServerMessage[]): Mapping {
  if (DEVICE_ERRORS.includes(number)) {
    const device = deviceMeaning(message)
    if (device) return device
  }
  // 4060 comes with 18456, which says that the login is wrong; it is the database that is.
  if (number === 18456 && all.some((other) => other.number === 4060)) return refused
  return BY_NUMBER[number] ?? { code: DEVICE_ERRORS.includes(number) ? 'STORAGE_FAILED' : 'SERVER_FAILED' }
}

/** What the operating system's error in a message is about, by the numbers of Windows, which Linux uses here as well. */
function deviceMeaning(message: string): Mapping | undefined {
  const [, number] = /(?:error(?: code)?|failed:|state)[: ]+(-?\d+)\s?\(/i.exec(message) ?? []
  switch (Number(number)) {
    case 2:
    case 3:
    case 53:
    case 67:
      return {
        code: 'STORAGE_FAILED',
        hint: "There is no such folder or file on the server's own file system: paths are the server's, not ours.",
      }
    case 5:
    case 1326:
      return {
        code: 'STORAGE_DENIED',
        hint: 'Let the service account of SQL Server write in the folder that the message names.',
      }
    case 32:
      return { code: 'STORAGE_FAILED', retryable: true, hint: 'Another program has the file open.' }
    case 39:
    case 112:
      return { code: 'STORAGE_FULL', hint: 'Free space on the disk of the server that the message names.' }
    case 23:
    case 38:
    case 13:
      return backupFile
    default:
      return undefined
  }
}
