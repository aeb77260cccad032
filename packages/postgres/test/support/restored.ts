import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { chown, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { RUN_AS } from './programs.ts'
import { PASSWORD } from './server.ts'

/** A restored server has little to do before it answers; this only ends what hangs. */
const ANSWER_MS = 240_000

type Row = Record<string, unknown>

/** Runs one statement on a staged cluster, by its location. */
export async function queryUrl<R extends Row = Row>(url: string, text: string): Promise<R[]> {
  const client = new pg.Client(url)
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<R>(text)).rows
  } finally {
    await client.end()
  }
}

/** Starts a server on a restored data directory, runs one statement, and stops it again. */
export async function queryDataDirectory<R extends Row = Row>(
  dataDirectory: string,
  programs: string,
  text: string,
  args: readonly string[] = [],
): Promise<R[]> {
  const folder = await mkdtemp(join(tmpdir(), 'pg-restored-'))
  if (RUN_AS) await chown(folder, RUN_AS.uid, RUN_AS.gid)
  const output = openSync(join(folder, 'log'), 'w')
  const child = spawn(
    join(programs, 'postgres'),
    [
      '-D',
      dataDirectory,
      ...['listen_addresses=', `unix_socket_directories=${folder}`, 'port=5432'].flatMap((one) => ['-c', one]),
      ...args,
    ],
    { ...RUN_AS, cwd: '/', stdio: ['ignore', output, output] },
  )
  closeSync(output)
  const ended = once(child, 'exit')
  const startedMs = performance.now()
  try {
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`PostgreSQL did not start: ${await readFile(join(folder, 'log'), 'utf8')}`)
      const client = new pg.Client({
        host: folder,
        port: 5432,
        user: 'postgres',
        password: PASSWORD,
        database: 'postgres',
      })
      client.on('error', () => {})
      const failure = await client.connect().then(
        () => undefined,
        (error: Error) => error,
      )
      if (!failure) {
        try {
          return (await client.query<R>(text)).rows
        } finally {
          await client.end()
        }
      }
      await client.end().catch(() => {})
      if (performance.now() - startedMs > ANSWER_MS)
        throw new Error(`PostgreSQL does not answer (${failure}): ${await readFile(join(folder, 'log'), 'utf8')}`)
      await sleep(20)
    }
  } finally {
    child.kill('SIGINT')
    await ended
    await rm(folder, { recursive: true, force: true })
  }
}
