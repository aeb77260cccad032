import type * as Rows from '../../all-queries.ts'
import * as texts from '../../all-queries.ts'
import type { Disk } from '../disk.ts'
import { fail } from '../errors.ts'
import type { Execution } from '../execution.ts'
import { type Ask, answer, found } from './answer.ts'

answer<Rows.ServerFactsRow>(texts.SERVER_FACTS, {
  columns: {
    productVersion: 'nvarchar',
    engineEdition: 'int',
    edition: 'nvarchar',
    serverName: 'nvarchar',
    dataPath: 'nvarchar',
    logPath: 'nvarchar',
    backupPath: 'nvarchar',
    utcNow: 'varchar',
    utcOffsetMinutes: 'int',
    platform: 'nvarchar',
    login: 'nvarchar',
  },
  rows: ({ engine: { facts, clock }, session }) => [
    {
      ...facts,
      productVersion: facts.version,
      utcNow: clock.utcText,
      utcOffsetMinutes: clock.utcOffsetMinutes,
      login: session.user,
    },
  ],
})

answer<Rows.ServerClockRow>(texts.SERVER_CLOCK, {
  columns: { utcNow: 'varchar', utcOffsetMinutes: 'int' },
  rows: ({ engine: { clock } }) => [{ utcNow: clock.utcText, utcOffsetMinutes: clock.utcOffsetMinutes }],
})

answer<Rows.PermissionsRow>(texts.PERMISSIONS, {
  columns: {
    backupDatabase: 'bit',
    backupLog: 'bit',
    createAnyDatabase: 'bit',
    alterAnyDatabase: 'bit',
    administerBulkOperations: 'bit',
    viewAnyDefinition: 'bit',
    viewServerState: 'bit',
    isSysadmin: 'bit',
    isDbcreator: 'bit',
  },
  rows: (run, ask) => {
    const { sessions } = run.engine
    const { user } = run.session
    const exists = found(run, ask('database')).length > 0
    return [
      {
        backupDatabase: exists ? sessions.may(user, 'BACKUP DATABASE') : null,
        backupLog: exists ? sessions.may(user, 'BACKUP LOG') : null,
        createAnyDatabase: sessions.may(user, 'CREATE ANY DATABASE'),
        alterAnyDatabase: sessions.may(user, 'ALTER ANY DATABASE'),
        administerBulkOperations: sessions.may(user, 'ADMINISTER BULK OPERATIONS'),
        viewAnyDefinition: sessions.may(user, 'VIEW ANY DEFINITION'),
        viewServerState: sessions.may(user, 'VIEW SERVER STATE'),
        isSysadmin: sessions.is(user, 'sysadmin'),
        isDbcreator: sessions.is(user, 'dbcreator'),
      },
    ]
  },
})

answer<Rows.SessionRow>(texts.SESSIONS_OF, {
  columns: {
    sessionId: 'int',
    login: 'nvarchar',
    host: 'nvarchar',
    program: 'nvarchar',
    status: 'nvarchar',
    openTransactions: 'int',
  },
  rows: (run, ask) => {
    const { engine, session } = run
    if (!engine.sessions.may(session.user, 'VIEW SERVER STATE')) return []
    return found(run, ask('database'))
      .flatMap((database) => engine.sessions.in(database, session.id))
      .map(({ id, login, program }) => ({
        sessionId: id,
        login,
        host: 'client',
        program,
        status: 'sleeping',
        openTransactions: 0,
      }))
  },
})

answer<Rows.VolumeRow>(texts.VOLUME_SPACE, {
  columns: { mountPoint: 'nvarchar', totalBytes: 'varchar', availableBytes: 'varchar' },
  rows: (run, ask) => {
    const { sessions, disk } = run.engine
    sessions.mustViewState(run.session.user)
    const free = Number.isFinite(disk.freeBytes) ? disk.freeBytes : 10 ** 12
    return found(run, ask('database')).map(() => ({
      mountPoint: '/',
      totalBytes: String(2 * 10 ** 12),
      availableBytes: String(free),
    }))
  },
})

const EXISTS_COLUMNS = { fileExists: 'bit', isDirectory: 'bit', parentExists: 'bit' } as const

answer<Rows.FileExistsRow>(texts.FILE_EXISTS, {
  columns: EXISTS_COLUMNS,
  rows: ({ engine, session }, ask) => {
    if (Number(engine.facts.version.split('.')[0]) < 14) throw fail(208, "Invalid object name 'sys.dm_os_file_exists'.")
    engine.sessions.mustViewState(session.user)
    return [existence(engine.look(String(ask('path'))))]
  },
})

answer<Rows.FileExistsRow>(texts.FILE_EXISTS_2016, {
  columns: EXISTS_COLUMNS,
  rows: ({ engine, session }, ask) => {
    const path = String(ask('path'))
    const nothing = { file: false, folder: false, parent: false }
    return [existence(engine.sessions.is(session.user, 'sysadmin') ? engine.look(path) : nothing)]
  },
})

const existence = (found: { file: boolean; folder: boolean; parent: boolean }): Rows.FileExistsRow => ({
  fileExists: found.file,
  isDirectory: found.folder,
  parentExists: found.parent,
})

answer<Rows.FileBytesRow>(texts.FILE_BYTES, {
  columns: { bytes: 'varchar' },
  rows: (run, ask) =>
    listFiles(run, String(ask('directory')))
      .filter(({ name }) => name === ask('name'))
      .map(({ bytes }) => ({ bytes: String(bytes) })),
})

/** sys.dm_os_enumerate_filesystem. */
function listFiles({ engine, session }: Execution, directory: string): ReturnType<Disk['list']> {
  if (Number(engine.facts.version.split('.')[0]) < 14)
    throw fail(208, "Invalid object name 'sys.dm_os_enumerate_filesystem'.")
  engine.sessions.mustViewState(session.user)
  return engine.disk.list(directory)
}

answer<Rows.OwnFileRow>(texts.OWN_FILES, {
  columns: { name: 'nvarchar', ageSeconds: 'varchar' },
  rows: (run, ask) => {
    const { engine } = run
    const directory = String(ask('directory'))
    const known = new Set(engine.history.entries.flatMap(({ devices }) => devices.map(({ path }) => path)))
    return listFiles(run, directory)
      .filter(
        ({ name }) => /^taskflow_temp_/i.test(name) || (/_backup_/i.test(name) && !known.has(`${directory}${name}`)),
      )
      .map(({ name, writtenMs }) => ({ name, ageSeconds: String(Math.floor((engine.clock.utcMs - writtenMs) / 1000)) }))
  },
})

answer<Rows.AppLockRow>(texts.TAKE_APP_LOCK, {
  columns: { result: 'int' },
  rows: ({ engine, session }, ask) => [{ result: engine.sessions.lock(lockIn(session.database, ask), session.id) }],
})

answer<Rows.AppLockRow>(texts.RELEASE_APP_LOCK, {
  columns: { result: 'int' },
  rows: ({ engine, session }, ask) => [{ result: engine.sessions.unlock(lockIn(session.database, ask), session.id) }],
})

answer<Rows.AppLockTestRow>(texts.TEST_APP_LOCK, {
  columns: { isFree: 'bit' },
  rows: ({ engine, session }, ask) => [{ isFree: engine.sessions.isFree(lockIn(session.database, ask), session.id) }],
})

/** Locks of different databases do not meet. */
const lockIn = (database: string, ask: Ask): string => `${database.toLowerCase()}: ${String(ask('resource'))}`
