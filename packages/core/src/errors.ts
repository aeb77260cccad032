import type { JsonValue } from './contracts/backup.ts'

/**
 * Every code that a `BackupError` can carry, with what it means and what to do about it.
 *
 * `docs/errors.md` is made from this table.
 */
export const ERROR_CODES = {
  // The caller
  PLAN_INVALID: ['The plan has bad options.', 'Correct every option that the message names.'],
  OPTIONS_INVALID: ['The call has bad options.', 'Correct what the message names; nothing was touched.'],
  MERGE_UNSUPPORTED: [
    'The adapter cannot make one log backup of several.',
    'Leave `mergeLogs` out for this engine; `pruneBackups` removes what is too old.',
  ],
  KIND_UNSUPPORTED: [
    'The adapter cannot make this kind of backup.',
    'Ask for a kind that the adapter lists in `kinds`.',
  ],
  BASE_MISSING: [
    'There is no full backup that this one could continue.',
    'Make a full backup first, or do not set `strictKinds`: then a full is made instead, with the reason in its manifest.',
  ],
  BASE_UNUSABLE: [
    'The backup cannot continue the chain that it belongs to.',
    'Make a full backup; it begins a new chain.',
  ],
  ABORTED: [
    'The work was aborted by its signal.',
    'Nothing half-made is in the catalogue; start it again when you like.',
  ],
  PLAN_LOCKED: [
    'Another process is working on the same plan.',
    'Wait until it has finished, or give `lockWaitMs`. The message names the holder.',
  ],
  LOCK_LOST: [
    'The lock of the plan was lost while working, so the work was not committed.',
    'Look for a suspended machine, a blocked event loop or a storage that did not answer; then start again.',
  ],
  // Storages
  KEY_INVALID: ['A key or name has characters that a storage does not take.', 'Use letters, digits, `.`, `_` and `-`.'],
  KEY_EXISTS: ['There is an object under this key already.', 'Nothing was overwritten; use another key.'],
  OBJECT_MISSING: [
    'A stored object is not there.',
    'It was deleted or never written. Read the backup from another destination; verify the rest of the chain.',
  ],
  STORAGE_FULL: ['The destination has no room left.', 'Free space or prune, then start again.'],
  STORAGE_DENIED: [
    'The destination refused access.',
    'Give the user of this process read and write permission there, and nobody else.',
  ],
  STORAGE_READ_ONLY: ['The destination can only be read.', 'Use a writable destination for this.'],
  STORAGE_FAILED: ['The destination failed.', 'Look at the cause; `retryable` says whether trying again may help.'],
  DESTINATION_FAILED: [
    'A destination that the plan requires did not do its part.',
    'Mend the destination that the message names, or mark it `required: false` in the plan.',
  ],
  STORED_SIZE_MISMATCH: [
    'A stored object is not as long as what was sent.',
    'The backup was not committed. Check the disk or the service behind the destination.',
  ],
  // What is stored
  BACKUP_NOT_FOUND: [
    'No such backup is in any reachable destination.',
    "List the backups and use an id from there; when there is none, look at the plan's name and destinations.",
  ],
  POINT_UNREACHABLE: [
    'No backup leads to the moment or commit that was asked for.',
    'Ask for a moment that `recoveryWindow` tells, or for a commit that the message names; without either it is the newest.',
  ],
  MANIFEST_DAMAGED: [
    'A manifest is not what was written.',
    'Read the backup from another destination. Its members may still be whole: see docs/recover-by-hand.md.',
  ],
  FORMAT_TOO_NEW: [
    'The backup was made by a newer version of this library.',
    'Update the library, or recover by hand as docs/recover-by-hand.md says.',
  ],
  ENGINE_MISMATCH: ['The backup was made by another engine.', "Use the adapter of the backup's engine."],
  MEMBER_DAMAGED: [
    'A stored member is not what was written.',
    'Read the backup from another destination, or use an older one or an earlier moment; find out what damaged this one.',
  ],
  CODEC_UNKNOWN: [
    'A member was stored with a codec that this version does not know.',
    'Update the library, or decode the member with the standard tool of that name.',
  ],
  VERIFICATION_FAILED: [
    'The backup did not pass its verification.',
    'Do not rely on it: make a new full backup now, then find out what happened to this one. `details` has the findings.',
  ],
  POLICY_KEEPS_NOTHING: [
    'The retention policy would keep nothing.',
    'Nothing was deleted. Give the policy at least one rule that keeps something.',
  ],
  // Sources
  SOURCE_MISSING: [
    'There is no database at the place that the plan names.',
    'Correct the place; a relative path counts from the working directory.',
  ],
  SOURCE_NOT_DATABASE: [
    'The source is not a database of this engine, or it is encrypted or damaged.',
    'Check the file; a database encrypted by an extension cannot be read by this adapter.',
  ],
  SOURCE_IN_MEMORY: ['The database is in memory only.', 'Back up a database that is a file.'],
  SOURCE_BUSY: [
    'The database is locked by somebody else.',
    'Try again later, or end the other transaction; `locking_mode=EXCLUSIVE` and long write transactions do this.',
  ],
  SOURCE_UNREADABLE: [
    'The database cannot be read.',
    'Look at the cause: permissions, a broken disk, a missing folder.',
  ],
  // Database servers
  SERVER_UNREACHABLE: [
    'The database server does not answer, or the connection to it broke.',
    'Check host, port and network, and whether the server runs; then start again.',
  ],
  SERVER_REFUSED: [
    'The database server refused the login.',
    'Check user and password, and what the server lets in (PostgreSQL: pg_hba.conf, replication needs a line of its own; SQL Server: the login may be expired).',
  ],
  PRIVILEGE_MISSING: [
    'The user of the database has not the right to do this.',
    'Grant what the message names; the page of the engine has the statements to the letter.',
  ],
  SERVER_BUSY: [
    'The database server has no room for this at the moment.',
    'Try again later, or raise its limit (PostgreSQL: max_connections, max_wal_senders, max_replication_slots; SQL Server: memory, locks).',
  ],
  SERVER_SETTING: [
    'A setting of the database server does not allow this backup.',
    'Change the setting that the message names, as the page of the engine says.',
  ],
  SERVER_UNSUPPORTED: [
    'This server, by its version or because it is a managed service, cannot be backed up in this way.',
    'Use what the message names instead; the page of the engine has a table.',
  ],
  SERVER_FAILED: ['The database server failed.', 'Look at the cause, and at the log of the server.'],
  PROGRAM_MISSING: [
    'A program that this needs is not installed, or is too old.',
    'Install what the message names, or tell the adapter where it is.',
  ],
  PROGRAM_FAILED: [
    'A program that did part of the work failed.',
    'The message has the end of what it said; nothing half-made is in the catalogue.',
  ],
  // Restore
  TARGET_INVALID: [
    'The place to restore to cannot be used.',
    'Give a path in an existing folder that this process may write.',
  ],
  TARGET_EXISTS: [
    'There is something at the place to restore to.',
    'Give another place, or `overwrite: true`; what is there is kept for undo.',
  ],
  DATABASE_IN_USE: [
    'The database is open, in this process or in another one.',
    'Close every connection and `stop` what follows its log, then restore. `evenIfInUse: true` goes ahead: what the others write is then lost.',
  ],
  RESTORE_CHECK_FAILED: [
    'The restored database did not pass its checks, so the live one was not touched.',
    'Restore an older backup; verify this one at level `restored`. `details` has the findings.',
  ],
  UNDO_IMPOSSIBLE: [
    'The restore cannot be undone.',
    'The kept database is gone or was moved; look at the path in the message.',
  ],
  // The surroundings
  RUNTIME_UNSUPPORTED: ['This version of Node.js cannot run the adapter.', 'Use Node.js 22.15 or newer.'],
  CHILD_FAILED: [
    'The child process that does the heavy work failed.',
    'Look at the cause; the live database was not changed.',
  ],
  CONTRACT_BROKEN: [
    'An adapter, a storage or a policy broke its contract.',
    'Report it to its author; `@taskflow-backup/testing` shows the fault.',
  ],
  INTERNAL: ['Something unforeseen happened.', 'Report it with the cause; nothing half-made is in the catalogue.'],
} as const satisfies Record<string, readonly [meaning: string, hint: string]>

/** Tells failures apart; see {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES

/** What a `BackupError` may say besides its code and message. */
export interface BackupErrorOptions {
  /** What to do about it; the code's own hint without it. */
  readonly hint?: string
  readonly cause?: unknown
  /** True when the same call may succeed later. Default: false. */
  readonly retryable?: boolean
  /** Anything that helps and is no secret. */
  readonly details?: JsonValue
}

/**
 * The one error class: everything that any verb, adapter or storage throws.
 *
 * @example
 * ```ts
 * import { BackupError } from '@taskflow-backup/core'
 *
 * const error = new BackupError('STORAGE_FULL', 'No room on /var/backups.', { retryable: true })
 * console.log(error.code, error.hint) // STORAGE_FULL Free space or prune, then start again.
 * ```
 */
export class BackupError extends Error {
  override readonly name = 'BackupError'
  readonly code: ErrorCode
  /** What to do about it, for the person who reads the message. */
  readonly hint: string
  readonly retryable: boolean
  readonly details: JsonValue | undefined

  constructor(code: ErrorCode, message: string, options: BackupErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint ?? ERROR_CODES[code][1]
    this.retryable = options.retryable ?? false
    this.details = options.details
  }

  /** Plain data without stack and cause, for logs. */
  toJSON(): { code: ErrorCode; message: string; hint: string; retryable: boolean; details?: JsonValue } {
    const { code, message, hint, retryable, details } = this
    return { code, message, hint, retryable, ...(details === undefined ? {} : { details }) }
  }
}

/** `error` itself when it is a `BackupError`, otherwise one with `code` and `error` as its cause. */
export function toBackupError(
  error: unknown,
  code: ErrorCode,
  message: string,
  options: Omit<BackupErrorOptions, 'cause'> = {},
): BackupError {
  if (error instanceof BackupError) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new BackupError(code, `${message}: ${reason}`, { ...options, cause: error })
}

/** Throws `ABORTED` when `signal` is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal)
}

/** The error for an aborted `signal`: its reason when that is a `BackupError` already, else `ABORTED`. */
export function abortError(signal: AbortSignal): BackupError {
  return toBackupError(signal.reason, 'ABORTED', 'The work was aborted')
}
