import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { type AdapterContext, BackupError } from '@taskflow-backup/core'
import type { Owner } from '../physical/lay-out-job.ts'

const WINDOWS = process.platform === 'win32'

/** Where packages put the programs of a major version. */
const usualPlaces = (major: number): string[] =>
  WINDOWS
    ? [`C:/Program Files/PostgreSQL/${major}/bin`]
    : [
        `/usr/lib/postgresql/${major}/bin`,
        `/usr/pgsql-${major}/bin`,
        `/usr/libexec/postgresql${major}`,
        `/usr/lib/postgresql${major}/bin`,
        `/opt/homebrew/opt/postgresql@${major}/bin`,
        `/usr/local/opt/postgresql@${major}/bin`,
        `/Applications/Postgres.app/Contents/Versions/${major}/bin`,
        `/Library/PostgreSQL/${major}/bin`,
        '/usr/local/pgsql/bin',
        '/usr/local/bin',
      ]

/**
 * Path of the program `postgres` of a major version: a data directory can be run by no other.
 *
 * @param folder the only place to look, when given
 * @throws `PROGRAM_MISSING` with what was found and what to install
 */
export async function findServerProgram(
  folder: string | undefined,
  major: number,
  runAs: Owner | undefined,
  ctx: AdapterContext,
): Promise<string> {
  const fromPath = (process.env.PATH ?? '').split(delimiter).filter((path) => path !== '')
  const others: string[] = []
  for (const place of folder === undefined ? [...usualPlaces(major), ...fromPath] : [folder]) {
    const program = join(place, WINDOWS ? 'postgres.exe' : 'postgres')
    const usable = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (!usable) continue
    const version = parseServerVersion(await sayVersion(program, runAs, ctx))
    if (version === major) return program
    others.push(version === undefined ? `${program} cannot be run` : `${program} is version ${version}`)
  }
  const found = others.length > 0 ? ` (${[...new Set(others)].join(', ')})` : ''
  throw new BackupError(
    'PROGRAM_MISSING',
    `The backup is of PostgreSQL ${major}; its server program was not found ${folder === undefined ? 'in the usual places or PATH' : `in ${folder}`}${found}.`,
    {
      hint: `Install PostgreSQL ${major} (Debian: postgresql-${major}; Red Hat: postgresql${major}-server; macOS: brew install postgresql@${major}), give its folder as \`physical.serverPrograms\`, or restore with \`to: { dataDirectory, recover: false }\` and start it elsewhere.`,
    },
  )
}

/** The major version in what `postgres --version` prints. */
export function parseServerVersion(text: string): number | undefined {
  const found = /\(PostgreSQL\) (\d+)/.exec(text)
  return found ? Number(found[1]) : undefined
}

/** Asked as the user who is to run it: a program below a closed folder is of no use. */
function sayVersion(program: string, runAs: Owner | undefined, ctx: AdapterContext): Promise<string> {
  return new Promise((resolve) => {
    const child = ctx.spawn(program, ['--version'], {
      ...runAs,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 10_000,
      windowsHide: true,
    })
    let text = ''
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
    })
    child.once('error', () => resolve(''))
    child.once('close', () => resolve(text))
  })
}

/** The numeric user and group of `name` in a file like /etc/passwd. */
export function findUser(passwd: string, name: string): Owner | undefined {
  for (const line of passwd.split('\n')) {
    const [user, , uid, gid] = line.split(':')
    if (user === name && /^\d+$/.test(uid ?? '') && /^\d+$/.test(gid ?? ''))
      return { uid: Number(uid), gid: Number(gid) }
  }
  return undefined
}
