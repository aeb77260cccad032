import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

// Backup files that real SQL Servers wrote; they are not part of this repository. `TASKFLOW_SQLSERVER_FILES` names the
// folder; without it, it is looked for beside the repository. Their source: the public test data of dbatools
// (dataplat/appveyor-lab and dataplat/dbatools) and, for the compressed one, devsatya/sqlpython.
const folder =
  process.env.TASKFLOW_SQLSERVER_FILES ??
  fileURLToPath(new URL('../../../../../shared/data/sqlserver', import.meta.url))

/** Why tests on real files cannot run, or `undefined`. */
export const noRealFiles = existsSync(join(folder, '2016'))
  ? undefined
  : 'no files of real SQL Servers: set TASKFLOW_SQLSERVER_FILES'

/** Path of one of these files, for instance `2016/RestoreTimeClean.bak`. */
export const realFile = (name: string): string => join(folder, name)

/** Every uncompressed backup among them. */
export function realBackups(): string[] {
  if (noRealFiles) return []
  return ['2008r2', '2016'].flatMap((version) => readdirSync(join(folder, version)).map((name) => `${version}/${name}`))
}
