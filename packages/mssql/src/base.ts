import { BackupError, type BackupRequest, type Manifest } from '@taskflow-backup/core'
import { type MssqlDetails, readDetails } from './details.ts'
import { type MadeRow, toPosition } from './history.ts'
import { comparePositions } from './lsn.ts'
import type { DatabaseFactsRow } from './statements/queries/databases.ts'
import type { PermissionsRow } from './statements/queries/server.ts'

// Whether a differential or a log continues its chain. Asked before the server makes it, because a log backup that
// nobody keeps is a hole in the log; and once more of what it made, because somebody else may have been quicker.

const NEW_CHAIN = 'Make a full backup; it begins a new chain.'

function unusable(message: string, hint: string = NEW_CHAIN): BackupError {
  return new BackupError('BASE_UNUSABLE', message, { hint })
}

/**
 * @throws `BASE_UNUSABLE` with the reason, `PRIVILEGE_MISSING` when the login may not see where the chain stands
 */
export function assertContinues(
  { kind, base }: Pick<BackupRequest, 'kind' | 'base'>,
  database: DatabaseFactsRow,
  permissions: PermissionsRow,
): void {
  if (kind === 'full') return
  if (!base) throw new BackupError('CONTRACT_BROKEN', `A ${kind} backup was asked for without a base.`)
  const [full, previous] = [readDetails(base.full.manifest), readDetails(base.previous.manifest)]
  assertSameHistory(database, previous)
  if (kind === 'differential') assertDifferentialBase(database, full, permissions)
  else assertLogGoesOn(database, base.previous.manifest, previous, permissions)
}

function assertSameHistory(database: DatabaseFactsRow, previous: MssqlDetails): void {
  const { name, familyGuid, recoveryForkGuid } = database
  if (differs(familyGuid, previous.familyGuid))
    throw unusable(`${name} is another database than the one that the chain is of: it was made anew since.`)
  if (differs(recoveryForkGuid, previous.lastForkGuid))
    throw unusable(`${name} was restored since the last backup of the chain: its history has left that of the chain.`)
}

function assertDifferentialBase(database: DatabaseFactsRow, full: MssqlDetails, permissions: PermissionsRow): void {
  if (full.copyOnly)
    throw unusable(
      'The full of the chain is copy-only: no differential can be based on it.',
      'Make log backups, or a plan without `copyOnly`.',
    )
  const { name, differentialBaseLsn } = database
  if (differentialBaseLsn === null) {
    assertVisible(permissions, name)
    throw unusable(`${name} has no full that a differential could be based on.`)
  }
  if (toPosition(differentialBaseLsn) !== full.checkpointLsn)
    throw unusable(
      `Another full of ${name} was made since that of the chain: a differential would be based on it.`,
      'Let whoever makes the other fulls make them WITH COPY_ONLY.',
    )
}

function assertLogGoesOn(
  { name, recoveryModel, lastLogBackupLsn }: DatabaseFactsRow,
  { kind }: Manifest,
  previous: MssqlDetails,
  permissions: PermissionsRow,
): void {
  if (recoveryModel === 'SIMPLE')
    throw unusable(
      `${name} has the recovery model SIMPLE, which has no log backups.`,
      'ALTER DATABASE … SET RECOVERY FULL, then make a full backup.',
    )
  if (lastLogBackupLsn === null) {
    assertVisible(permissions, name)
    throw unusable(`${name} has had no full backup since it has the recovery model ${recoveryModel}.`)
  }
  const order = comparePositions(toPosition(lastLogBackupLsn), previous.lastLsn)
  if (order > 0)
    throw unusable(
      `A log backup of ${name} was made since the last one of the chain, which does not hold it: by somebody else, or by an attempt that failed later.`,
      'Let only one tool make log backups of a database.',
    )
  // After a full, the log may go back further; after a log it begins where that one ended.
  if (kind === 'log' && order < 0)
    throw unusable(`The log of ${name} stands before the end of the chain's last log: it was restored since.`)
}

/** Holds what the server made against the chain. */
export function assertContinued(
  { kind, base }: Pick<BackupRequest, 'kind' | 'base'>,
  made: Pick<MadeRow, 'kind' | 'firstLsn' | 'lastLsn' | 'databaseBackupLsn' | 'differentialBaseLsn' | 'firstForkGuid'>,
): void {
  if (made.kind !== kind)
    throw new BackupError('SERVER_FAILED', `The server made a ${made.kind} backup instead of a ${kind} one.`)
  if (kind === 'full' || !base) return
  const [full, previous] = [readDetails(base.full.manifest), readDetails(base.previous.manifest)]
  if (kind === 'differential') {
    const basedOn = made.differentialBaseLsn ?? made.databaseBackupLsn
    if (basedOn !== full.checkpointLsn) throw unusable('Another full was made while the differential was being made.')
    return
  }
  if (differs(made.firstForkGuid, previous.lastForkGuid))
    throw unusable('The database was restored while the log was being backed up.')
  const order = comparePositions(made.firstLsn, previous.lastLsn)
  if (order > 0 || (order < 0 && base.previous.manifest.kind === 'log'))
    throw unusable('Another log backup was made while the log was being backed up.')
}

/**
 * Whether a log, maybe of another chain, goes on where a backup ends: it is of the same database, on the same recovery
 * path, and begins no later.
 */
export function follows(log: Manifest, before: Manifest): boolean {
  if (log.kind !== 'log' || log.position.begin === undefined) return false
  const [later, earlier] = [readDetails(log), readDetails(before)]
  if (later.familyGuid === undefined || later.familyGuid !== earlier.familyGuid) return false
  if (later.firstForkGuid === undefined || later.firstForkGuid !== earlier.lastForkGuid) return false
  return comparePositions(log.position.begin, before.position.end) <= 0
}

/** Ids of recovery paths differ when both are known and not the same. */
function differs(a: string | null | undefined, b: string | null | undefined): boolean {
  return typeof a === 'string' && typeof b === 'string' && a.toUpperCase() !== b.toUpperCase()
}

/** sys.master_files and sys.database_recovery_status are empty for who has none of these rights. */
function assertVisible(permissions: PermissionsRow, name: string): void {
  const { viewAnyDefinition, createAnyDatabase, alterAnyDatabase, isSysadmin } = permissions
  if (viewAnyDefinition || createAnyDatabase || alterAnyDatabase || isSysadmin) return
  throw new BackupError(
    'PRIVILEGE_MISSING',
    `The login may not see where the log and the differentials of ${name} stand.`,
    {
      hint: 'GRANT VIEW ANY DEFINITION TO the login, in master.',
    },
  )
}
