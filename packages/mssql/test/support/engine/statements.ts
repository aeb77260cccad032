import type { RecoveryModel, UserAccess } from './database.ts'

export interface Device {
  readonly type: 'disk' | 'url'
  readonly path: string
}

/** Options of BACKUP and RESTORE by their upper-case names; a flag is `true`. */
export type Options = ReadonlyMap<string, string | number | true>

export interface BackupCommand {
  readonly type: 'backup'
  readonly what: 'DATABASE' | 'LOG'
  readonly database: string
  readonly devices: readonly Device[]
  readonly options: Options
}

export interface RestoreCommand {
  readonly type: 'restore'
  readonly what: 'DATABASE' | 'LOG'
  readonly database: string
  /** None: only recovery. */
  readonly devices: readonly Device[]
  readonly options: Options
  readonly moves: ReadonlyMap<string, string>
}

export interface InspectCommand {
  readonly type: 'inspect'
  readonly what: 'HEADERONLY' | 'FILELISTONLY' | 'VERIFYONLY'
  readonly devices: readonly Device[]
  readonly options: Options
}

export type DatabaseChange =
  | { readonly access: UserAccess; readonly termination?: 'ROLLBACK' | 'NO_WAIT' }
  | { readonly name: string }
  | { readonly recoveryModel: RecoveryModel }
  | { readonly state: 'ONLINE' | 'OFFLINE' }

/** What the parser makes of a statement. */
export type Statement =
  | BackupCommand
  | RestoreCommand
  | InspectCommand
  | { readonly type: 'alter'; readonly database: string; readonly change: DatabaseChange }
  | { readonly type: 'drop'; readonly database: string; readonly ifExists: boolean }
  | { readonly type: 'create'; readonly database: string }
  | { readonly type: 'check'; readonly database: string; readonly options: readonly string[] }
  | { readonly type: 'delete-file'; readonly path: string; readonly using: 'xp_delete_file' | 'xp_delete_files' }
  | { readonly type: 'use'; readonly database: string }
  | { readonly type: 'set'; readonly words: readonly string[] }
