import type { Login } from '../tds/login.ts'
import type { Reply } from '../tds/reply.ts'
import type { TdsHandler, TdsRequest, TdsSession } from '../tds/server.ts'
import type { ServerMessage } from '../tds/tokens.ts'
import { runAlter, runCheck, runCreate, runDelete, runDrop, runSet, runUse } from './administration.ts'
import { runBackup } from './backup.ts'
import type { ServerClock } from './clock.ts'
import { Databases } from './databases.ts'
import type { Disk } from './disk.ts'
import { error, fail, SqlError } from './errors.ts'
import type { Execution } from './execution.ts'
import { Faults } from './faults.ts'
import { History } from './history.ts'
import { runInspect } from './inspect.ts'
import { parse } from './parser.ts'
import './queries/databases.ts'
import './queries/history.ts'
import './queries/server.ts'
import { queryFor } from './queries/answer.ts'
import { readBackFor } from './read-back.ts'
import { runRestore } from './restore.ts'
import { Sessions } from './sessions.ts'
import type { Statement } from './statements.ts'
import { normalised } from './text.ts'

/** What the server says of itself. */
export interface ServerFacts {
  readonly serverName: string
  /** `16.0.4135.4` */
  readonly version: string
  readonly edition: string
  readonly engineEdition: number
  readonly platform: 'Windows' | 'Linux'
  /** With a separator at the end. */
  readonly dataPath: string
  readonly logPath: string
  readonly backupPath: string
}

/** A statement that a client sent, with its white space made one. */
export interface Logged {
  readonly session: number
  readonly text: string
}

/** Behaves like SQL Server as far as backups go. Behind the TDS server; tests also use it directly. */
export class Engine implements TdsHandler {
  readonly name = 'FAKESQL'
  readonly version: readonly [number, number, number]
  readonly facts: ServerFacts
  readonly clock: ServerClock
  readonly disk: Disk
  readonly databases: Databases
  readonly sessions = new Sessions()
  readonly faults = new Faults()
  readonly history = new History()
  /** Certificates in master, for native encryption. */
  readonly certificates = new Set<string>()
  /** Every statement that came, but for those that clients send on their own. */
  readonly log: Logged[] = []
  /** It writes its files in a format that came after all that is known here. */
  writesFuture = false
  /** How long a BACKUP, RESTORE or VERIFYONLY waits before each report of progress, in ms. */
  stepMs = 0

  constructor(facts: ServerFacts, clock: ServerClock, disk: Disk) {
    const [major = 0, minor = 0, build = 0] = facts.version.split('.').map(Number)
    this.version = [major, minor, build]
    this.facts = facts
    this.clock = clock
    this.disk = disk
    this.databases = new Databases(clock, { data: facts.dataPath, log: facts.logPath })
  }

  login({ user, password, database }: Login, session: TdsSession): readonly ServerMessage[] | undefined {
    const refused = error(18_456, `Login failed for user '${user}'.`, 14)
    if (this.sessions.accounts.get(user.toLowerCase())?.password !== password) return [refused]
    const name = database || 'master'
    const isSystem = ['master', 'msdb', 'tempdb'].includes(name.toLowerCase())
    const found = this.databases.find(name)
    const isBlocked = found?.access === 'SINGLE_USER' && this.sessions.in(found).length > 0
    if (!isSystem && (found?.state !== 'ONLINE' || isBlocked))
      return [error(4060, `Cannot open database "${name}" requested by the login. The login failed.`, 11), refused]
    this.sessions.connected(session)
    return undefined
  }

  reset(session: TdsSession): void {
    this.sessions.gone(session.id)
    this.sessions.connected(session)
  }

  closed({ id }: TdsSession): void {
    this.sessions.gone(id)
  }

  async request(request: TdsRequest, reply: Reply, session: TdsSession): Promise<void> {
    const text = normalised(request.text)
    if (isGreeting(text, reply)) return
    for (const { text: own, work, endsBatch } of unitsOf(request, text)) {
      this.log.push({ session: session.id, text: own })
      const run: Execution = {
        engine: this,
        session,
        text: own,
        variables: variablesOf(request),
        reply,
        signal: request.signal,
        drop: () => session.drop(),
      }
      // One that fails does not keep those after it from being run: so it is with SQL Server.
      const isDone = await attempt(run, work)
      if (run.signal.aborted || (!isDone && endsBatch)) return
    }
  }

  /** Whether a file of a database could be made at this path. */
  hasFolderOf(path: string): boolean {
    const folder = path.slice(0, Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1)
    const { dataPath, logPath } = this.facts
    return folder === dataPath || folder === logPath || this.disk.exists(path).parent
  }

  /** As sys.dm_os_file_exists: files of databases are only known by their names. */
  look(path: string): { file: boolean; folder: boolean; parent: boolean } {
    if (this.databases.ownerOf(path)) return { file: true, folder: false, parent: true }
    const { dataPath, logPath } = this.facts
    if ([dataPath, logPath].some((folder) => folder === path || folder.slice(0, -1) === path))
      return { file: false, folder: true, parent: true }
    return { ...this.disk.exists(path), parent: this.hasFolderOf(path) }
  }
}

/** What drivers ask before and between the requests of a program. */
function isGreeting(text: string, reply: Reply): boolean {
  if (/^SELECT 1( AS \w+)?;?$/i.test(text)) {
    reply.rows([{ name: / AS (\w+)/i.exec(text)?.[1] ?? '', type: 'int' }], [[1]])
    return true
  }
  return /^set (ansi_nulls|textsize|quoted_identifier)/i.test(text)
}

/** What is run, logged and may fail by itself. */
interface Unit {
  readonly text: string
  readonly work: (run: Execution) => void | Promise<void>
  readonly endsBatch?: boolean
}

function unitsOf(request: TdsRequest, text: string): Unit[] {
  const work = queryFor(text) ?? readBackFor(text, request.kind === 'query')
  if (work) return [{ text, work }]
  try {
    if (request.kind === 'procedure') throw fail(2812, `Could not find stored procedure '${request.text}'.`)
    return parse(request.text, variablesOf(request)).map(({ statement, text: own }) => ({
      text: normalised(own),
      work: (run) => execute(statement, run),
      endsBatch: statement.type === 'use',
    }))
  } catch (thrown) {
    const failing = (): never => {
      throw thrown
    }
    return [{ text, work: failing }]
  }
}

const variablesOf = ({ parameters }: TdsRequest): ReadonlyMap<string, unknown> =>
  new Map(parameters.map(({ name, value }) => [name.toLowerCase(), value]))

/** False: it failed, and the client was told why. */
async function attempt(run: Execution, work: Unit['work']): Promise<boolean> {
  const { faults } = run.engine
  try {
    await faults.strike('before', run.text, run)
    await work(run)
    await faults.strike('after', run.text, run)
    return true
  } catch (thrown) {
    if (!(thrown instanceof SqlError)) throw thrown
    for (const message of thrown.messages) run.reply.say(message)
    run.reply.done()
    return false
  }
}

async function execute(statement: Statement, run: Execution): Promise<void> {
  switch (statement.type) {
    case 'backup':
      await runBackup(statement, run)
      break
    case 'restore':
      await runRestore(statement, run)
      break
    case 'inspect':
      await runInspect(statement, run)
      break
    case 'alter':
      await runAlter(statement, run)
      break
    case 'drop':
      runDrop(statement, run)
      break
    case 'create':
      runCreate(statement, run)
      break
    case 'check':
      runCheck(statement, run)
      break
    case 'delete-file':
      runDelete(statement, run)
      break
    case 'use':
      runUse(statement, run)
      break
    case 'set':
      runSet(statement)
      break
  }
  run.reply.done()
}
