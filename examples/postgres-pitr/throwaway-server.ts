// An empty PostgreSQL 18 of our own on a Unix socket, gone at the end. Yours will be there already.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, chmod, chown, cp, mkdtemp, realpath, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

export interface ThrowawayServer {
  readonly folder: string
  readonly connection: { readonly host: string; readonly user: string; readonly database: string }
  /** Folder with the programs of the server. */
  readonly programs: string
  /** Whom to run servers as, when we are root: PostgreSQL refuses that. */
  readonly runAs: { readonly uid: number; readonly gid: number } | undefined
  stop(): Promise<void>
}

/** `undefined` where there is no such package for this machine. */
export async function startServer(): Promise<ThrowawayServer | undefined> {
  const packaged = findPrograms()
  if (!packaged) return undefined
  const runAs = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'taskflow-pitr-')))
  if (runAs) await chown(folder, runAs.uid, runAs.gid)
  await chmod(folder, 0o711)
  // Another user may not be allowed to read this clone.
  const programs = runAs ? join(folder, 'programs', 'bin') : join(packaged, 'bin')
  if (runAs) {
    await cp(packaged, join(folder, 'programs'), { recursive: true, verbatimSymlinks: true })
    spawnSync('chmod', ['-R', 'a+rX', join(folder, 'programs')])
  }
  const data = join(folder, 'live')
  const made = spawnSync(join(programs, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '-k', '--no-sync'], {
    ...runAs,
    cwd: '/',
    encoding: 'utf8',
  })
  if (made.status !== 0) throw new Error(`initdb: ${made.error?.message ?? made.stderr}`)
  await appendFile(join(data, 'postgresql.conf'), `listen_addresses = ''\nunix_socket_directories = '"${folder}"'\n`)
  const server = spawn(join(programs, 'postgres'), ['-D', data], { ...runAs, cwd: '/', stdio: 'ignore' })
  const connection = { host: folder, user: 'postgres', database: 'postgres' }
  while (!(await answers(connection))) {
    if (server.exitCode !== null) throw new Error('PostgreSQL did not start.')
    await sleep(50)
  }
  return {
    folder,
    connection,
    programs,
    runAs,
    async stop() {
      const ended = once(server, 'exit')
      server.kill('SIGINT')
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function findPrograms(): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve('postgres-server-18')
    return join(dirname(dirname(entry)), 'native')
  } catch {
    return undefined
  }
}

async function answers(connection: pg.ClientConfig): Promise<boolean> {
  const client = new pg.Client(connection)
  client.on('error', () => {})
  return client
    .connect()
    .then(
      () => true,
      () => false,
    )
    .finally(() => client.end().catch(() => {}))
}
