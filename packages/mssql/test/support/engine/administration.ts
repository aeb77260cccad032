import type { Database } from './database.ts'
import { error, fail, following, info, isBeingRestored, unknownDatabase } from './errors.ts'
import type { Execution } from './execution.ts'
import type { DatabaseChange, Statement } from './statements.ts'

type Of<T extends Statement['type']> = Extract<Statement, { readonly type: T }>

const ALTER_FAILED = error(5069, 'ALTER DATABASE statement failed.')

/** ALTER DATABASE. */
export function runAlter({ database: name, change }: Of<'alter'>, run: Execution): Promise<void> {
  const { databases, sessions } = run.engine
  const database = databases.find(name)
  const isAllowed = sessions.may(run.session.user, 'ALTER ANY DATABASE')
  // Who may not rename is told so alone.
  const followers = 'name' in change && !isAllowed ? [] : [ALTER_FAILED]
  return following(followers, () => {
    if (!database || !isAllowed)
      throw fail(
        5011,
        `User does not have permission to alter database '${name}', the database does not exist, or the database is not in a state that allows access checks.`,
        14,
      )
    if (database.state === 'RESTORING')
      throw fail(5052, 'ALTER DATABASE is not permitted while a database is in the Restoring state.')
    alter(database, change, run)
  })
}

function alter(database: Database, change: DatabaseChange, { engine, session, reply }: Execution): void {
  const others = engine.sessions.in(database, session.id)
  if (
    database.access === 'SINGLE_USER' &&
    others.length > 0 &&
    !('access' in change && change.termination === 'ROLLBACK')
  )
    throw fail(
      5064,
      `Changes to the state or options of database '${database.name}' cannot be made at this time. The database is in single-user mode, and a user is currently connected to it.`,
    )
  if ('name' in change) {
    if (others.length > 0) throw fail(5030, 'The database could not be exclusively locked to perform the operation.')
    const isInside = session.database.toLowerCase() === database.name.toLowerCase()
    engine.databases.rename(database, change.name)
    if (isInside) session.database = database.name
    reply.say({ number: 5021, message: `The database name '${change.name}' has been set.`, class: 0 })
  } else if ('recoveryModel' in change) database.setRecoveryModel(change.recoveryModel)
  else if ('state' in change) database.state = change.state
  else {
    const ends = change.access !== 'MULTI_USER' || database.access !== 'MULTI_USER'
    if (change.termination === 'ROLLBACK' && ends) engine.sessions.killAllIn(database, session.id)
    else if (others.length > 0 && change.access === 'SINGLE_USER')
      throw fail(5070, `Database state cannot be changed while other users are using the database '${database.name}'`)
    database.access = change.access
  }
}

export function runDrop({ database: name, ifExists }: Of<'drop'>, { engine, session }: Execution): void {
  const database = engine.databases.find(name)
  if (!database && ifExists) return
  if (!database || !engine.sessions.may(session.user, 'ALTER ANY DATABASE'))
    throw fail(3701, `Cannot drop the database '${name}', because it does not exist or you do not have permission.`, 11)
  if (engine.sessions.in(database).length > 0)
    throw fail(3702, `Cannot drop database "${database.name}" because it is currently in use.`)
  engine.databases.remove(database)
}

export function runCreate({ database }: Of<'create'>, { engine, session }: Execution): void {
  if (!engine.sessions.may(session.user, 'CREATE ANY DATABASE'))
    throw fail(262, "CREATE DATABASE permission denied in database 'master'.", 14)
  engine.databases.create(database)
}

/** DBCC CHECKDB: silent unless something is damaged. */
export function runCheck({ database: name }: Of<'check'>, { engine, session, reply }: Execution): void {
  const database = mustBeOpen(name, engine, session.id)
  if (!database.damaged) return
  reply.say(
    error(
      8939,
      'Table error: Object ID 245575913, index ID 1, partition ID 72057594043301888, alloc unit ID 72057594049986560 (type In-row data), page (1:312). Test (IS_OFF (BUF_IOERR, pBUF->bstat)) failed. Values are 133129 and -4.',
    ),
  )
  reply.say(info(8989, `CHECKDB found 0 allocation errors and 1 consistency errors in database '${database.name}'.`))
}

export function runUse({ database: name }: Of<'use'>, { engine, session, reply }: Execution): void {
  const system = ['master', 'msdb', 'tempdb'].includes(name.toLowerCase())
  reply.environment(session.enter(system ? name : mustBeOpen(name, engine, session.id).name))
}

/** EXECUTE xp_delete_file and xp_delete_files. */
export function runDelete({ path, using }: Of<'delete-file'>, { engine, session }: Execution): void {
  if (!engine.sessions.is(session.user, 'sysadmin'))
    throw fail(
      229,
      `The EXECUTE permission was denied on the object '${using}', database 'mssqlsystemresource', schema 'sys'.`,
      14,
    )
  if (using === 'xp_delete_file') engine.disk.deleteBackup(path)
  else if (Number(engine.facts.version.split('.')[0]) < 15)
    throw fail(2812, `Could not find stored procedure 'master.sys.${using}'.`)
  else engine.disk.delete(path)
}

/** SET: only what clients send on their own, and nothing that would matter here. */
export function runSet({ words }: Of<'set'>): void {
  const [option = ''] = words
  if (option.toUpperCase() === 'IMPLICIT_TRANSACTIONS' && words[1]?.toUpperCase() === 'ON')
    throw fail(50_001, 'The fake engine has no implicit transactions.')
}

function mustBeOpen(name: string, engine: Execution['engine'], session: number): Database {
  const database = engine.databases.find(name)
  if (!database) throw unknownDatabase(name)
  if (database.state === 'RESTORING') throw isBeingRestored(database.name)
  if (database.state === 'OFFLINE')
    throw fail(942, `Database '${database.name}' cannot be opened because it is offline.`, 14)
  engine.sessions.enter(database, session)
  return database
}
