import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
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
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root).map(Number) : []
  const usable = versions.filter((version) => statSync(join(root, `${version}/bin/pg_dump`), { throwIfNoEntry: false }))
  const version = Math.max(...usable)
  return usable.length > 0 ? { folder: join(root, `${version}/bin`), version } : undefined
}
