import type { BackupHeader, BackupSet } from './backup-set.ts'
import { Database } from './database.ts'
import { fail, following, info, inUse, type SqlError, terminating, unknownDatabase } from './errors.ts'
import { type Execution, takeTime } from './execution.ts'
import { readMedia } from './media.ts'
import { movedFiles } from './moved-files.ts'
import { applyLog, type StopPoint, stopPointOf } from './roll-forward.ts'
import type { RestoreCommand } from './statements.ts'

/** RESTORE DATABASE and RESTORE LOG. */
export function runRestore(command: RestoreCommand, run: Execution): Promise<void> {
  const what = `RESTORE ${command.what}`
  return following([terminating(what)], async () => {
    const { engine } = run
    const existing = engine.databases.find(command.database)
    mustBeAllowed(command, existing, run)
    if (command.devices.length === 0) return recoverOnly(command, existing, run)
    const set = readMedia(command.devices, engine.disk)
    mustBeReadable(set.header, command, run)
    const stop = stopPointOf(command.options)
    const { kind } = set.header
    if (existing) mustBeFree(existing, run)
    if ((kind === 'log') !== (command.what === 'LOG')) throw wrongKind(set.header, command.devices[0]?.path)
    if (kind !== 'log') mustNotBePast(set, stop)
    const restored = kind === 'full' ? beginFull(command, set, existing, run) : mustRollForward(command, existing)
    if (kind === 'differential') mustBeItsBase(restored, set.header)
    if (kind === 'log') {
      if (!(await rollForward(restored, set, stop, run, command))) return
    } else {
      await takeTime(run, command.options)
      applyData(restored, set)
    }
    sayDone(what, run)
    if (!command.options.has('NORECOVERY')) restored.recover(engine.clock.localMs)
  })
}

function mustBeAllowed({ database }: RestoreCommand, existing: Database | undefined, { engine, session }: Execution) {
  if (session.inTransaction) throw fail(3021, 'Cannot perform a backup or restore operation within a transaction.')
  const permission = existing ? 'ALTER ANY DATABASE' : 'CREATE ANY DATABASE'
  if (engine.sessions.may(session.user, permission)) return
  if (!existing) throw fail(262, "CREATE DATABASE permission denied in database 'master'.", 14)
  throw fail(3110, `User does not have permission to RESTORE database '${database}'.`, 14)
}

function recoverOnly({ database }: RestoreCommand, existing: Database | undefined, run: Execution): void {
  if (!existing) throw unknownDatabase(database)
  if (existing.state !== 'RESTORING') throw fail(3153, 'The database is already fully recovered.')
  if (!existing.rollForward) throw fail(4333, 'The database cannot be recovered because the log was not restored.')
  existing.recover(run.engine.clock.localMs)
  sayDone('RESTORE DATABASE', run)
}

function mustBeReadable(header: BackupHeader, { options, devices }: RestoreCommand, { engine }: Execution): void {
  const file = Number(options.get('FILE') ?? 1)
  if (file !== 1) throw fail(4038, `Cannot find file ID ${file} on device '${devices[0]?.path}'.`)
  if (options.has('CHECKSUM') && !header.checksums)
    throw fail(
      3187,
      'RESTORE WITH CHECKSUM cannot be specified because the backup set does not contain checksum information.',
    )
  if (Number(header.build.split('.')[0]) > Number(engine.facts.version.split('.')[0]))
    throw fail(
      3169,
      `The database was backed up on a server running version ${header.build}. That version is incompatible with this server, which is running version ${engine.facts.version}. Either restore the database on a server that supports the backup, or use a backup that is compatible with this server.`,
    )
  if (header.certificate !== undefined && !engine.certificates.has(header.certificate))
    throw fail(33111, `Cannot find server certificate with thumbprint '0x${header.familyGuid.replaceAll('-', '')}'.`)
}

function mustBeFree(database: Database, { engine, session }: Execution): void {
  const users = engine.sessions.in(database)
  if (users.some(({ id }) => id === session.id))
    throw fail(
      3102,
      `RESTORE cannot process database '${database.name}' because it is in use by this session. It is recommended that the master database be used when performing this operation.`,
    )
  if (users.length > 0) throw inUse()
}

/** Makes way, and makes the database, which is RESTORING from now on. */
function beginFull(command: RestoreCommand, { header }: BackupSet, existing: Database | undefined, run: Execution) {
  const { databases, clock } = run.engine
  if (existing && !command.options.has('REPLACE')) mustBeReplaceable(existing, header, command)
  const files = movedFiles(command, header, existing, run)
  if (existing) databases.remove(existing)
  const restored = new Database({
    ...header,
    name: existing?.name ?? command.database,
    id: existing?.id ?? databases.nextId(),
    createdAt: clock.localMs,
    files,
  })
  restored.state = 'RESTORING'
  return databases.add(restored)
}

function mustBeReplaceable(existing: Database, header: BackupHeader, { options }: RestoreCommand): void {
  if (existing.familyGuid !== header.familyGuid)
    throw fail(3154, `The backup set holds a backup of a database other than the existing '${existing.name}' database.`)
  if (existing.state === 'ONLINE' && existing.recoveryModel !== 'SIMPLE' && !options.has('STOPAT'))
    throw tailNotBackedUp(existing)
}

function mustRollForward({ database, what }: RestoreCommand, existing: Database | undefined): Database {
  if (!existing)
    throw fail(
      3118,
      `The database "${database}" does not exist. RESTORE can only create a database when restoring either a full backup or a file backup of the primary file.`,
    )
  if (existing.state === 'RESTORING' && existing.rollForward) return existing
  if (what === 'LOG' && existing.state === 'ONLINE' && existing.recoveryModel !== 'SIMPLE')
    throw tailNotBackedUp(existing)
  throw fail(3117, 'The log or differential backup cannot be restored because no files are ready to rollforward.')
}

function mustBeItsBase(database: Database, { differentialBase }: BackupHeader): void {
  if (differentialBase?.guid !== database.differentialBase?.guid)
    throw fail(
      3136,
      'This differential backup cannot be restored because the database has not been restored to the correct earlier state.',
    )
}

function mustNotBePast({ log }: BackupSet, { at }: StopPoint): void {
  if (at !== undefined && (log.at(-1)?.at ?? 0) > at)
    throw fail(
      4338,
      'The STOPAT clause specifies a point too early to allow this backup set to be restored. Choose a different stop point or use RESTORE DATABASE WITH RECOVERY to recover to the current point.',
    )
}

/** Copies the pages, then redoes what was logged while they were read. */
function applyData(database: Database, { header, pages, log }: BackupSet): void {
  for (const [page, content] of pages) database.pages.set(page, content)
  for (const record of log) database.redo(record)
  database.damaged = header.damaged
  database.nextLsn = header.lastLsn
  database.checkpointLsn = header.checkpointLsn
  database.rollForward = {
    lsn: header.lastLsn,
    at: log.at(-1)?.at ?? header.startedAt,
    forkGuid: header.lastForkGuid,
  }
  if (header.kind !== 'full') return
  database.databaseBackupLsn = header.checkpointLsn
  if (!header.copyOnly) database.differentialBase = { lsn: header.checkpointLsn, guid: header.setGuid }
}

/** False: the point to stop at has not come yet, so the database stays as it is, whatever the statement says. */
async function rollForward(
  database: Database,
  set: BackupSet,
  stop: StopPoint,
  run: Execution,
  { options }: RestoreCommand,
): Promise<boolean> {
  const planned = applyLog(database, set, stop)
  await takeTime(run, options)
  const reached = planned()
  if (reached || options.has('NORECOVERY')) return true
  run.reply.say(stop.mark ? MARK_NOT_YET : TIME_NOT_YET)
  sayDone('RESTORE LOG', run)
  return false
}

const TIME_NOT_YET = info(
  4322,
  'This backup set contains records that were logged before the designated point in time. The database is being left in the restoring state so that more roll forward can be performed.',
)
const MARK_NOT_YET = info(
  4329,
  'This log file contains records logged before the designated mark. The database is being left in the Restoring state so you can apply another log file.',
)

const tailNotBackedUp = ({ name }: Database): SqlError =>
  fail(
    3159,
    `The tail of the log for the database "${name}" has not been backed up. Use BACKUP LOG WITH NORECOVERY to backup the log if it contains work you do not want to lose. Use the WITH REPLACE or WITH STOPAT clause of the RESTORE statement to just overwrite the contents of the log.`,
  )

const wrongKind = ({ kind }: BackupHeader, path: string | undefined): SqlError =>
  fail(
    3135,
    `The backup set in file '${path}' was created by BACKUP ${kind === 'log' ? 'LOG' : 'DATABASE'} and cannot be used for this restore operation.`,
  )

function sayDone(what: string, { reply }: Execution): void {
  reply.say(info(3014, `${what} successfully processed 346 pages in 0.043 seconds (62.700 MB/sec).`))
}
