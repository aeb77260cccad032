import { execFile } from 'node:child_process'
import { readdir, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { BackupError } from '@taskflow-backup/core'

export type ProgramName = 'pg_dump' | 'pg_dumpall' | 'pg_restore' | 'psql'

/** PostgreSQL's client programs of one version. */
export interface ClientPrograms {
  readonly folder: string
  readonly major: number
  /** As the programs say it, for example `15.18 (Debian 15.18-1)`. */
  readonly version: string
  path(name: ProgramName): string
}

const NAMES: readonly ProgramName[] = ['pg_dump', 'pg_dumpall', 'pg_restore', 'psql']
const SUFFIX = process.platform === 'win32' ? '.exe' : ''

/** Where packages put the programs of each version; `*` is one folder of any name. */
const USUAL_PLACES =
  process.platform === 'win32'
    ? ['C:/Program Files/PostgreSQL/*/bin']
    : [
        '/usr/lib/postgresql/*/bin',
        '/usr/pgsql-*/bin',
        '/usr/libexec/postgresql*',
        '/usr/local/pgsql/bin',
        '/opt/homebrew/opt/postgresql@*/bin',
        '/opt/homebrew/opt/libpq/bin',
        '/usr/local/opt/postgresql@*/bin',
        '/usr/local/opt/libpq/bin',
        '/Applications/Postgres.app/Contents/Versions/*/bin',
      ]

/**
 * Finds client programs that are not older than `major`: `pg_dump` refuses servers newer than itself. Of several the
 * oldest is taken, because what a newer one writes an older server may not understand.
 *
 * @param folder the only place to look, when given
 * @throws `PROGRAM_MISSING` with what was found and what to install
 */
export async function findPrograms(folder: string | undefined, major: number): Promise<ClientPrograms> {
  const places = folder === undefined ? await candidates() : [folder]
  const found: ClientPrograms[] = []
  for (const place of places) {
    const programs = await programsIn(place)
    if (programs?.major === major) return programs
    if (programs) found.push(programs)
  }
  const usable = found.filter((programs) => programs.major > major).sort((a, b) => a.major - b.major)
  if (usable[0]) return usable[0]
  const old = found.map((programs) => `${programs.version} in ${programs.folder}`)
  const where = folder === undefined ? 'in PATH or the usual places' : `in ${folder}`
  throw new BackupError(
    'PROGRAM_MISSING',
    old.length > 0
      ? `The server is PostgreSQL ${major}; there is only pg_dump ${old.join(', ')}.`
      : `There are no pg_dump, pg_dumpall, pg_restore and psql ${where}.`,
    {
      hint: `Install the client programs of PostgreSQL ${major} or newer (Debian: postgresql-client-${major}; Red Hat: postgresql${major}; macOS: brew install postgresql@${major}), or give their folder as \`clientPrograms\`.`,
    },
  )
}

/** The major version in what `pg_dump --version` prints. */
export function parseVersion(text: string): { readonly major: number; readonly version: string } | undefined {
  const found = /\(PostgreSQL\) ((\d+)\S*(?: \(.*\))?)/.exec(text)
  return found ? { major: Number(found[2]), version: found[1] as string } : undefined
}

async function programsIn(folder: string): Promise<ClientPrograms | undefined> {
  const path = (name: ProgramName): string => join(folder, name + SUFFIX)
  for (const name of NAMES) {
    const file = await stat(path(name)).catch(() => undefined)
    if (!file?.isFile()) return undefined
  }
  const said = await new Promise<string>((resolve) => {
    execFile(path('pg_dump'), ['--version'], { timeout: 10_000 }, (error, stdout) => resolve(error ? '' : stdout))
  })
  const parsed = parseVersion(said)
  return parsed && { folder, ...parsed, path }
}

async function candidates(): Promise<string[]> {
  const fromPath = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '')
  const usual = await Promise.all(USUAL_PLACES.map(expand))
  return [...new Set([...fromPath, ...usual.flat()])]
}

/** The folders that a path with one `*` means, highest number first. */
async function expand(place: string): Promise<string[]> {
  const star = place.indexOf('*')
  if (star < 0) return [place]
  const begin = place.lastIndexOf('/', star)
  const slash = place.indexOf('/', star)
  const end = slash < 0 ? place.length : slash
  const prefix = place.slice(begin + 1, star)
  const names = await readdir(place.slice(0, begin)).catch((): string[] => [])
  return names
    .filter((name) => name.startsWith(prefix))
    .sort((a, b) => b.localeCompare(a, 'en', { numeric: true }))
    .map((name) => place.slice(0, begin + 1) + name + place.slice(end))
}
