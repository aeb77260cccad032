import type { BackupKind } from '@taskflow-backup/core'
import type { BackupHeader, BackupSet } from './backup-set.ts'
import type { Database } from './database.ts'
import { newGuid } from './database.ts'
import {
  cannotOpen,
  fail,
  following,
  info,
  inUse,
  isBeingRestored,
  OS_ERRORS,
  terminating,
  unknownDatabase,
} from './errors.ts'
import { type Execution, takeTime } from './execution.ts'
import { inFutureFormat, writeMedia } from './media.ts'
import type { BackupCommand } from './statements.ts'

/** BACKUP DATABASE and BACKUP LOG. */
export function runBackup(command: BackupCommand, run: Execution): Promise<void> {
  return following([terminating(`BACKUP ${command.what}`)], async () => {
    const database = permitted(command, run)
    const isLog = command.what === 'LOG'
    if (!isLog && database.busy)
      throw fail(
        3023,
        'Backup, file manipulation operations (such as ALTER DATABASE ADD FILE) and encryption changes on a database must be serialized. Reissue the statement after the current backup or file manipulation operation is completed.',
      )
    if (!isLog) database.busy = true
    try {
      await make(command, database, run)
    } finally {
      if (!isLog) database.busy = false
    }
  })
}

async function make(command: BackupCommand, database: Database, run: Execution): Promise<void> {
  const { engine, reply } = run
  const begun = begin(command, database, run)
  const [first] = writeMedia({ header: { ...begun, stripes: 1, paddingBytes: 0 }, pages: [], log: [] })
  // What a backup leaves behind that does not get to its end.
  for (const device of command.devices) engine.disk.write(device, (first ?? Buffer.alloc(0)).subarray(0, 2048))
  const pages = [...database.pages].filter(([, { lsn }]) => lsn >= (begun.differentialBase?.lsn ?? 0n))
  await takeTime(run, command.options)
  const header = { ...begun, lastLsn: database.nextLsn, finishedAt: engine.clock.localMs }
  const log = database.log.filter(({ lsn }) => lsn >= header.firstLsn && lsn < header.lastLsn)
  const set: BackupSet = { header, pages: header.kind === 'log' ? [] : pages, log }
  const files = writeMedia(set).map((file) => (engine.writesFuture ? inFutureFormat(file) : file))
  for (const [index, device] of command.devices.entries()) engine.disk.write(device, files[index] ?? Buffer.alloc(0))
  const bytes = files.reduce((sum, file) => sum + file.length, 0)
  settle(database, header, command.options.has('NORECOVERY'))
  engine.history.add(header, command.devices, bytes)
  const count = Math.max(1, Math.ceil(bytes / 8192))
  const [file] = database.files
  reply.say(
    info(4035, `Processed ${count} pages for database '${database.name}', file '${file?.logicalName}' on file 1.`),
  )
  reply.say(
    info(3014, `BACKUP ${command.what} successfully processed ${count} pages in 0.046 seconds (58.600 MB/sec).`),
  )
}

/** The database, if it can be backed up like this by this login. */
function permitted(
  { what, database: name, options, devices }: BackupCommand,
  { engine, session }: Execution,
): Database {
  if (session.inTransaction) throw fail(3021, 'Cannot perform a backup or restore operation within a transaction.')
  const database = engine.databases.find(name)
  if (!database) throw unknownDatabase(name)
  if (!engine.sessions.may(session.user, `BACKUP ${what}`))
    throw fail(262, `BACKUP ${what} permission denied in database '${database.name}'.`, 14)
  if (database.state === 'RESTORING') throw isBeingRestored(database.name)
  if (database.state === 'OFFLINE')
    throw fail(942, `Database '${database.name}' cannot be opened because it is offline.`, 14)
  engine.sessions.enter(database, session.id)
  if (options.has('COMPRESSION') && engine.facts.engineEdition === 4)
    throw fail(1844, `BACKUP ${what} WITH COMPRESSION is not supported on ${engine.facts.edition}.`)
  const s3 = devices.find(({ path }) => path.startsWith('s3:'))
  if (s3 && engine.version[0] < 16) throw cannotOpen(s3.path, OS_ERRORS.unsupported)
  const certificate = options.get('ENCRYPTION')
  if (certificate !== undefined && !engine.certificates.has(String(certificate)))
    throw fail(
      15151,
      `Cannot find the certificate '${certificate}', because it does not exist or you do not have permission.`,
    )
  if (what === 'LOG') mustHaveLog(database)
  if (options.has('DIFFERENTIAL') && !database.differentialBase)
    throw fail(
      3035,
      `Cannot perform a differential backup for database "${database.name}", because a current database backup does not exist. Perform a full database backup by reissuing BACKUP DATABASE, omitting the WITH DIFFERENTIAL option.`,
    )
  const users = engine.sessions.in(database)
  if (options.has('NORECOVERY') && users.length > 0) throw inUse()
  return database
}

function mustHaveLog({ recoveryModel, logChainLsn }: Database): void {
  if (recoveryModel === 'SIMPLE')
    throw fail(
      4208,
      'The statement BACKUP LOG is not allowed while the recovery model is SIMPLE. Use BACKUP DATABASE or change the recovery model using ALTER DATABASE.',
    )
  if (logChainLsn === null)
    throw fail(4214, 'BACKUP LOG cannot be performed because there is no current database backup.')
}

function begin({ what, options, devices }: BackupCommand, database: Database, run: Execution): BackupHeader {
  const { engine, session } = run
  const { clock, facts } = engine
  const startedAt = clock.localMs
  const kind: BackupKind = what === 'LOG' ? 'log' : options.has('DIFFERENTIAL') ? 'differential' : 'full'
  const firstLsn = kind === 'log' ? (database.logChainLsn ?? 0n) : database.checkpoint(startedAt)
  const { leftFork, differentialBase } = database
  const left = kind === 'log' && leftFork && leftFork.atLsn >= firstLsn ? leftFork : undefined
  const certificate = options.get('ENCRYPTION')
  return {
    kind,
    database: database.name,
    server: facts.serverName,
    user: session.user,
    build: facts.version,
    name: String(options.get('NAME') ?? ''),
    description: String(options.get('DESCRIPTION') ?? ''),
    setGuid: newGuid(),
    mediaSetGuid: newGuid(),
    stripes: devices.length,
    firstLsn,
    lastLsn: database.nextLsn,
    checkpointLsn: database.checkpointLsn,
    databaseBackupLsn: database.databaseBackupLsn,
    ...(kind === 'differential' && differentialBase && { differentialBase }),
    firstForkGuid: left?.guid ?? database.forkGuid,
    lastForkGuid: database.forkGuid,
    ...(left && { forkPointLsn: left.atLsn }),
    familyGuid: database.familyGuid,
    copyOnly: options.has('COPY_ONLY') && kind !== 'differential',
    compressed: options.has('COMPRESSION'),
    checksums: options.has('CHECKSUM'),
    recoveryModel: database.recoveryModel,
    collation: database.collation,
    compatibilityLevel: database.compatibilityLevel,
    createdAt: database.createdAt,
    startedAt,
    finishedAt: startedAt,
    utcOffsetMinutes: clock.utcOffsetMinutes,
    files: database.files,
    paddingBytes: database.paddingBytes,
    damaged: database.damaged,
    ...(certificate !== undefined && { certificate: String(certificate) }),
  }
}

/** What a finished backup changes in the database. */
function settle(database: Database, header: BackupHeader, isTail: boolean): void {
  const { kind, copyOnly, checkpointLsn, firstLsn, lastLsn, setGuid } = header
  if (kind === 'full' && !copyOnly) {
    database.differentialBase = { lsn: checkpointLsn, guid: setGuid }
    database.databaseBackupLsn = checkpointLsn
    if (database.recoveryModel !== 'SIMPLE') database.logChainLsn ??= firstLsn
  }
  if (kind === 'log' && !copyOnly) {
    database.logChainLsn = lastLsn
    database.log = database.log.filter(({ lsn }) => lsn >= lastLsn)
    database.leftFork = undefined
  }
  if (!isTail) return
  database.state = 'RESTORING'
  database.rollForward = { lsn: lastLsn, at: header.finishedAt, forkGuid: database.forkGuid }
}
