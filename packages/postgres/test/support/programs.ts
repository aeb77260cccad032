import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Major versions of which a server comes from the npm registry. */
export const VERSIONS = [15, 16, 17, 18] as const
export type Version = (typeof VERSIONS)[number]

/** PostgreSQL refuses to run as root; when we are, it runs as nobody. */
export const RUN_AS = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined

const packageOf = (version: Version): string =>
  fileURLToPath(new URL(`../../../../node_modules/postgres-server-${version}/native`, import.meta.url))

/** `TASKFLOW_POSTGRES=15,17` tests with these only. */
const wanted = process.env.TASKFLOW_POSTGRES?.split(',').map(Number)

/** Why there is no server of this version; `undefined` when there is one. */
export function whyNoServer(version: Version): string | undefined {
  if (wanted && !wanted.includes(version)) return 'TASKFLOW_POSTGRES does not name it'
  if (existsSync(join(packageOf(version), 'bin', 'postgres'))) return undefined
  return `there is no PostgreSQL ${version} for ${process.platform} ${process.arch} among the packages`
}

/** Where Debian and its like put the programs of each version. */
const DEBIAN = '/usr/lib/postgresql'

/** Path of one program of a version that the system has, besides those of the packages. */
export function installedProgram(version: number, name: string): string | undefined {
  const path = join(DEBIAN, String(version), 'bin', name)
  return existsSync(path) ? path : undefined
}

/** The server that the system has: with contrib's extensions, zstd and lz4, which those of the packages are not all built with. */
export function systemServer(): { readonly version: Version; readonly programs: string } | undefined {
  const version = VERSIONS.findLast((one) => installedProgram(one, 'postgres') && installedProgram(one, 'initdb'))
  return version && { version, programs: join(DEBIAN, String(version), 'bin') }
}

/** Why that server is not tried; `undefined` when it is. */
export function whyNoSystemServer(): string | undefined {
  const version = systemServer()?.version
  if (version === undefined) return `no server of PostgreSQL ${VERSIONS.join(', ')} is installed below ${DEBIAN}`
  return wanted && !wanted.includes(version) ? `TASKFLOW_POSTGRES does not name ${version}` : undefined
}

const copies = new Map<Version, Promise<string>>()

/** Folder with `postgres` and `initdb`, which the user that runs servers may read. */
export function serverPrograms(version: Version): Promise<string> {
  const bin = join(packageOf(version), 'bin')
  const reachable = spawnSync(join(bin, 'postgres'), ['--version'], { ...RUN_AS, stdio: 'ignore' }).status === 0
  if (reachable) return Promise.resolve(bin)
  // A clone below /root is closed to everybody else.
  let copy = copies.get(version)
  if (!copy) {
    const folder = mkdtempSync(join(tmpdir(), `taskflow-postgres-${version}-`))
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
    copy = cp(packageOf(version), folder, { recursive: true, verbatimSymlinks: true }).then(() => {
      spawnSync('chmod', ['-R', 'a+rX', folder])
      return join(folder, 'bin')
    })
    copies.set(version, copy)
  }
  return copy
}

/** Folder with `pg_dump` and its like of Debian's newest version, and that version; `undefined` where none is installed. */
export function clientPrograms(): { readonly folder: string; readonly version: number } | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(Number) : []
  const usable = versions.filter((version) => installedProgram(version, 'pg_dump'))
  const version = Math.max(...usable)
  return usable.length > 0 ? { folder: join(DEBIAN, `${version}/bin`), version } : undefined
}
