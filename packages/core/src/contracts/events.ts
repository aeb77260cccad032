import type { BackupKind, VerificationLevel } from './backup.ts'

/** The verb that an event belongs to. */
export type Verb =
  | 'createBackup'
  | 'verifyBackup'
  | 'restoreBackup'
  | 'undoRestore'
  | 'pruneBackups'
  | 'mergeLogs'
  | 'followLog'

interface EventBase {
  readonly plan: string
  readonly verb: Verb
  readonly at: Date
}

/** Everything that a verb tells while it works. `type` tells them apart. */
export type BackupEvent =
  | (EventBase & {
      readonly type: 'started'
      /** Absent when it is not known yet, or when the verb is about no single backup. */
      readonly backupId?: string
      readonly kind?: BackupKind
      readonly level?: VerificationLevel
    })
  | (EventBase & {
      readonly type: 'progress'
      /** What is being done, for example `reading`, `restoring`, `checking`. */
      readonly phase: string
      readonly bytes: number
      /** Absent when it is not known. */
      readonly totalBytes?: number
      /** Average since the phase began. */
      readonly bytesPerSecond: number
    })
  | (EventBase & { readonly type: 'warning'; readonly message: string; readonly code?: string })
  | (EventBase & {
      /**
       * Of `followLog`: one more log backup is committed. Only `onEvent` is told: notifiers are for people, whom one
       * message each second would bury.
       */
      readonly type: 'logged'
      readonly backupId: string
      readonly storedBytes: number
      /** Age of the oldest thing in it when it was committed, in milliseconds. */
      readonly lagMs: number
    })
  | (EventBase & {
      readonly type: 'completed'
      readonly durationMs: number
      readonly backupId?: string
      readonly kind?: BackupKind
      readonly plainBytes?: number
      readonly storedBytes?: number
    })
  | (EventBase & {
      readonly type: 'failed'
      readonly durationMs: number
      readonly code: string
      readonly message: string
    })

/** Tells somebody. A notifier that fails does not fail the verb: it becomes a `warning` event. */
export type Notifier = (event: BackupEvent) => Promise<void>
