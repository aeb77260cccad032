import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { PostgresConnection } from '../../src/index.ts'
import { makeCluster, PASSWORD } from './cluster.ts'
import { RUN_AS, serverPrograms, type Version } from './programs.ts'

export { PASSWORD }

export interface ServerOptions {
  /** Lines of postgresql.conf. */
  readonly settings?: { readonly [name: string]: string | number }
  /** Listen on a free port of 127.0.0.1 as well; without it only on a Unix socket. */
  readonly tcp?: boolean
  /** Replaces pg_hba.conf. */
  readonly hba?: string
  /** How `initdb` is called besides. Default: with page checksums. */
  readonly initdb?: readonly string[]
  /** Without the databases `template0` and `template1`: a third of the files. */
  readonly lean?: boolean
  /** Folder with `postgres` and `initdb` of the version. Default: those of the packages. */
  readonly programs?: string
  /** Keep the configuration in the folder `etc` beside the data directory, as Debian does. */
  readonly etc?: boolean
}

/** A real PostgreSQL server with an empty cluster of its own, made for a test. */
export class TestServer {
  readonly version: Version
  /** Holds everything of this server; its socket as well. */
  readonly folder: string
  readonly dataDirectory: string
  readonly port: number
  readonly programs: string
  readonly #tcp: boolean
  /** Folder of its configuration. */
  readonly #etc: string
  #process: ChildProcess | undefined

  private constructor(version: Version, folder: string, programs: string, port: number, { tcp, etc }: ServerOptions) {
    this.version = version
    this.folder = folder
    this.dataDirectory = join(folder, 'data')
    this.programs = programs
    this.port = port
    this.#tcp = tcp ?? false
    this.#etc = etc ? join(folder, 'etc') : this.dataDirectory
  }

  static async start(version: Version, options: ServerOptions = {}): Promise<TestServer> {
    const folder = await fs.mkdtemp(join(tmpdir(), `pg${version}-`))
    if (RUN_AS) await fs.chown(folder, RUN_AS.uid, RUN_AS.gid)
    await fs.chmod(folder, 0o755)
    const programs = options.programs ?? (await serverPrograms(version))
    const port = options.tcp ? await freePort() : 5432
    const server = new TestServer(version, folder, programs, port, options)
    await server.#initialize(options)
    await server.run()
    return server
  }

  async #initialize({ settings = {}, hba, initdb = ['-k'], lean = false }: ServerOptions): Promise<void> {
    await makeCluster(this.dataDirectory, { programs: this.programs, initdb, lean })
    if (this.#etc !== this.dataDirectory) await this.#moveConfiguration()
    const lines = {
      listen_addresses: this.#tcp ? '127.0.0.1' : '',
      unix_socket_directories: this.folder,
      port: this.port,
      shared_buffers: '16MB',
      fsync: 'off', // servers are killed here, machines are not
      max_wal_senders: 10,
      max_replication_slots: 10,
      ...settings,
    }
    const text = Object.entries(lines).map(([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'\n`)
    await fs.appendFile(join(this.#etc, 'postgresql.conf'), text.join(''))
    if (hba !== undefined) await fs.writeFile(join(this.#etc, 'pg_hba.conf'), hba)
  }

  async #moveConfiguration(): Promise<void> {
    await fs.mkdir(this.#etc)
    for (const name of ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'])
      await fs.rename(join(this.dataDirectory, name), join(this.#etc, name))
    const settings = { data_directory: this.dataDirectory, hba_file: `${this.#etc}/pg_hba.conf` }
    const text = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`)
    await fs.appendFile(join(this.#etc, 'postgresql.conf'), text.join(''))
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** From now on it does not keep the event loop open. */
  unref(): void {
    this.#process?.unref()
  }

  #hasEnded(): boolean {
    const child = this.#process
    return !child || child.exitCode !== null || child.signalCode !== null
  }

  /** Starts it, or starts it again; nothing when it runs. */
  async run(): Promise<void> {
    if (!this.#hasEnded()) return
    const log = openSync(join(this.folder, 'log'), 'a')
    const child = spawn(join(this.programs, 'postgres'), ['-D', this.#etc], {
      ...RUN_AS,
      cwd: '/',
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    this.#process = child
    const kill = (): void => void child.kill('SIGKILL')
    process.once('exit', kill)
    child.once('exit', () => process.off('exit', kill))
    for (let round = 0; ; round++) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`PostgreSQL ${this.version} did not start: ${this.log().slice(-2000)}`)
      if (
        await this.sql('SELECT 1').then(
          () => true,
          () => false,
        )
      )
        return
      if (round > 6000) throw new Error(`PostgreSQL ${this.version} does not answer: ${this.log().slice(-2000)}`)
      await sleep(30)
    }
  }

  /** Lets the next run begin a new timeline, as a promoted standby does. The server must be stopped. */
  async promoteOnNextRun(): Promise<void> {
    const signal = join(this.dataDirectory, 'recovery.signal')
    await fs.writeFile(signal, '')
    if (RUN_AS) await fs.chown(signal, RUN_AS.uid, RUN_AS.gid)
    await fs.appendFile(join(this.#etc, 'postgresql.conf'), "restore_command = 'false'\n")
  }

  log(): string {
    return readFileSync(join(this.folder, 'log'), 'utf8')
  }

  /** How to connect; as the superuser without `more`. */
  connection(more: PostgresConnection = {}): PostgresConnection {
    return {
      host: this.#tcp ? '127.0.0.1' : this.folder,
      port: this.port,
      user: 'postgres',
      password: PASSWORD,
      database: 'postgres',
      ...more,
    }
  }

  async client(database = 'postgres'): Promise<pg.Client> {
    const { host, port, user } = this.connection() as Required<PostgresConnection>
    const client = new pg.Client({ host, port, user, password: PASSWORD, database })
    client.on('error', () => {})
    try {
      await client.connect()
    } catch (error) {
      await client.end().catch(() => {})
      throw error
    }
    return client
  }

  /** Runs one statement in a connection of its own. */
  async sql<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
    database = 'postgres',
  ): Promise<Row[]> {
    const client = await this.client(database)
    try {
      return (await client.query<Row>(text, [...values])).rows
    } finally {
      await client.end().catch(() => {})
    }
  }

  /**
   * `SIGINT`: ends connections and stops. `SIGQUIT`: without a checkpoint. `SIGKILL` stops as a power cut would, with all
   * its children.
   */
  async stop(signal: 'SIGINT' | 'SIGTERM' | 'SIGQUIT' | 'SIGKILL' = 'SIGINT'): Promise<void> {
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const children = signal === 'SIGKILL' ? childrenOf(child.pid as number) : []
    const ended = once(child, 'exit')
    child.kill(signal)
    for (const pid of children) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended already.
      }
    }
    await ended
    // The shared memory of a killed server is free only when its last child is gone.
    while (children.some(isRunning)) await sleep(10)
  }

  async destroy(): Promise<void> {
    await this.stop('SIGQUIT')
    await fs.rm(this.folder, { recursive: true, force: true })
  }
}

function childrenOf(pid: number): number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return list === '' ? [] : list.split(' ').map(Number)
}

function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
  } catch {
    return false
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}
