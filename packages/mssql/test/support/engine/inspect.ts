import type { Column, ColumnType, Value } from '../tds/types.ts'
import type { BackupHeader } from './backup-set.ts'
import { isoText } from './clock.ts'
import { fail, following, info, terminating } from './errors.ts'
import { type Execution, takeTime } from './execution.ts'
import { readMedia } from './media.ts'
import type { InspectCommand } from './statements.ts'

const VERBS = { HEADERONLY: 'RESTORE HEADERONLY', FILELISTONLY: 'RESTORE FILELIST', VERIFYONLY: 'VERIFY DATABASE' }
const BACKUP_TYPES = { full: 1, log: 2, differential: 5 } as const

type Cell = readonly [name: string, type: ColumnType, value: Value]

/** RESTORE HEADERONLY, FILELISTONLY and VERIFYONLY. */
export function runInspect({ what, devices, options }: InspectCommand, run: Execution): Promise<void> {
  const { engine, reply, session } = run
  return following([terminating(VERBS[what])], async () => {
    // HEADERONLY and FILELISTONLY need one right more than VERIFYONLY, but every login that restores has it.
    if (!engine.sessions.may(session.user, 'CREATE ANY DATABASE'))
      throw fail(262, "CREATE DATABASE permission denied in database 'master'.", 14)
    const { header } = readMedia(devices, engine.disk)
    if (what === 'HEADERONLY') return answer(run, [headerCells(header)])
    if (what === 'FILELISTONLY') return answer(run, fileCells(header))
    await takeTime(run, options)
    if (options.has('CHECKSUM') && !header.checksums)
      throw fail(
        3187,
        'RESTORE WITH CHECKSUM cannot be specified because the backup set does not contain checksum information.',
      )
    reply.say(info(3262, 'The backup set on file 1 is valid.'))
  })
}

function answer({ reply }: Execution, rows: readonly (readonly Cell[])[]): void {
  const columns: Column[] = (rows[0] ?? []).map(([name, type]) => ({ name, type }))
  reply.columns(columns)
  for (const row of rows) reply.row(row.map(([, , value]) => value))
  reply.done(rows.length)
}

function headerCells(header: BackupHeader): Cell[] {
  const [major = 0, minor = 0, build = 0] = header.build.split('.').map(Number)
  const base = header.differentialBase
  return [
    ['BackupName', 'nvarchar', header.name],
    ['BackupDescription', 'nvarchar', header.description],
    ['BackupType', 'smallint', BACKUP_TYPES[header.kind]],
    ['Compressed', 'tinyint', header.compressed ? 1 : 0],
    ['Position', 'smallint', 1],
    ['DeviceType', 'tinyint', 2],
    ['UserName', 'nvarchar', header.user],
    ['ServerName', 'nvarchar', header.server],
    ['DatabaseName', 'nvarchar', header.database],
    ['DatabaseCreationDate', 'datetime', isoText(header.createdAt)],
    ['FirstLSN', 'numeric(25,0)', header.firstLsn],
    ['LastLSN', 'numeric(25,0)', header.lastLsn],
    ['CheckpointLSN', 'numeric(25,0)', header.checkpointLsn],
    ['DatabaseBackupLSN', 'numeric(25,0)', header.databaseBackupLsn],
    ['BackupStartDate', 'datetime', isoText(header.startedAt)],
    ['BackupFinishDate', 'datetime', isoText(header.finishedAt)],
    ['CompatibilityLevel', 'tinyint', header.compatibilityLevel],
    ['SoftwareVersionMajor', 'int', major],
    ['SoftwareVersionMinor', 'int', minor],
    ['SoftwareVersionBuild', 'int', build],
    ['Collation', 'nvarchar', header.collation],
    ['FamilyGUID', 'uniqueidentifier', header.familyGuid],
    ['HasBackupChecksums', 'bit', header.checksums],
    ['IsDamaged', 'bit', false],
    ['IsCopyOnly', 'bit', header.copyOnly],
    ['FirstRecoveryForkID', 'uniqueidentifier', header.firstForkGuid],
    ['ForkPointLSN', 'numeric(25,0)', header.forkPointLsn ?? null],
    ['RecoveryModel', 'nvarchar', header.recoveryModel],
    ['DifferentialBaseLSN', 'numeric(25,0)', base?.lsn ?? null],
    ['DifferentialBaseGUID', 'uniqueidentifier', base?.guid ?? null],
    ['BackupSetGUID', 'uniqueidentifier', header.setGuid],
  ]
}

function fileCells({ files, differentialBase, familyGuid }: BackupHeader): Cell[][] {
  return files.map(({ logicalName, physicalName, type, sizeBytes, fileId }) => [
    ['LogicalName', 'nvarchar', logicalName],
    ['PhysicalName', 'nvarchar', physicalName],
    ['Type', 'varchar', type === 'LOG' ? 'L' : 'D'],
    ['FileGroupName', 'nvarchar', type === 'LOG' ? null : 'PRIMARY'],
    ['Size', 'numeric(20,0)', sizeBytes],
    ['MaxSize', 'numeric(20,0)', '35184372080640'],
    ['FileId', 'bigint', fileId],
    ['UniqueId', 'uniqueidentifier', familyGuid],
    ['BackupSizeInBytes', 'bigint', sizeBytes],
    ['DifferentialBaseLSN', 'numeric(25,0)', differentialBase?.lsn ?? null],
    ['IsReadOnly', 'bit', false],
    ['IsPresent', 'bit', true],
  ])
}
