import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { RUN_AS } from './programs.ts'

export const PASSWORD = 's3cret\'" pass'

/** Made once per machine: `initdb` takes ten times as long as a copy, and most test files need a cluster. */
const TEMPLATES = fileURLToPath(new URL('../../../../node_modules/.cache/postgres-clusters', import.meta.url))

/** Every backup, restore and check is of a third of the files then; nothing but CREATE DATABASE misses them. */
const DROP_TEMPLATES = [
  'UPDATE pg_database SET datistemplate = false',
  'DROP DATABASE template0',
  'DROP DATABASE template1',
]

export interface ClusterOptions {
  /** Folder with `postgres` and `initdb`. */
  readonly programs: string
  /** Further arguments of `initdb`. */
  readonly initdb: readonly string[]
  /** Without the databases `template0` and `template1`. */
  readonly lean: boolean
}

/** Makes a new cluster. All that are made with the same options are, by their identifier, one. */
export async function makeCluster(dataDirectory: string, options: ClusterOptions): Promise<void> {
  copy(await templateOf(options), dataDirectory)
}

async function templateOf(options: ClusterOptions): Promise<string> {
  const { programs, lean } = options
  // Not their path: where nobody may read the packages, every process has a copy of its own.
  const version = spawnSync(join(programs, 'initdb'), ['--version'], { ...RUN_AS, encoding: 'utf8' }).stdout
  const { size } = await fs.stat(join(programs, 'postgres'))
  const sql = lean ? DROP_TEMPLATES : []
  const recipe = JSON.stringify([version, size, initdbArguments('', options), sql, PASSWORD, RUN_AS])
  const template = join(TEMPLATES, createHash('sha256').update(recipe).digest('hex').slice(0, 16))
  if (existsSync(template)) return template
  const folder = await fs.mkdtemp(join(tmpdir(), 'pg-template-'))
  try {
    await initialize(folder, options)
    await fs.mkdir(TEMPLATES, { recursive: true })
    // Whole or not there: another process may make or want the same.
    const unfinished = await fs.mkdtemp(`${template}-`)
    copy(join(folder, 'data'), join(unfinished, 'data'))
    await fs.rename(join(unfinished, 'data'), template).catch((error: NodeJS.ErrnoException) => {
      if (!existsSync(template)) throw error
    })
    await fs.rm(unfinished, { recursive: true })
  } finally {
    await fs.rm(folder, { recursive: true, force: true })
  }
  return template
}

/** With the owners of the files, which Node's own copy does not keep. */
function copy(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['-a', from, to], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`cp: ${stderr}`)
}

const initdbArguments = (dataDirectory: string, { initdb }: ClusterOptions): string[] => [
  ...['-D', dataDirectory, '-U', 'postgres', '-E', 'UTF8', '--locale=C', '--no-sync', '-A', 'scram-sha-256'],
  `--pwfile=${join(dirname(dataDirectory), 'password')}`,
  ...initdb,
]

/** Makes a cluster in the folder `data` of `folder`. */
async function initialize(folder: string, options: ClusterOptions): Promise<void> {
  if (RUN_AS) await fs.chown(folder, RUN_AS.uid, RUN_AS.gid)
  const data = join(folder, 'data')
  await fs.writeFile(join(folder, 'password'), PASSWORD)
  await run(join(options.programs, 'initdb'), initdbArguments(data, options))
  if (!options.lean) return
  const single = ['--single', '-j', '-D', data, '-c', 'fsync=off', 'postgres']
  await run(join(options.programs, 'postgres'), single, `${DROP_TEMPLATES.join(';\n\n')};\n\n`)
}

async function run(program: string, args: readonly string[], input = ''): Promise<void> {
  const child = spawn(program, args, { ...RUN_AS, cwd: '/', stdio: ['pipe', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdin.on('error', () => {}) // it ended before it read all; its status says why
  child.stdin.end(input)
  const [status] = await once(child, 'close')
  // In single-user mode an error of SQL does not end the server.
  if (status !== 0 || /\b(ERROR|FATAL|PANIC):/.test(stderr)) throw new Error(`${program}: ${stderr}`)
}
