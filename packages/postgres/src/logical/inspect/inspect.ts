import type { Finding, MemberToInspect } from '@taskflow-backup/core'
import { readCustomFormat } from './custom-format.ts'
import { readDirectoryTar } from './directory-tar.ts'
import { DumpDamage } from './dump-reader.ts'
import { readPlainFormat } from './plain-format.ts'

/** Checks the format of a dump without a server, from its begin to its end, with bounded memory. */
export async function inspectMember({ name, body }: MemberToInspect): Promise<Finding[]> {
  const check = 'dump-format'
  try {
    return [{ check, severity: 'ok', message: `${name} is ${await read(name, body)}.` }]
  } catch (error) {
    if (!(error instanceof DumpDamage)) throw error
    return [{ check, severity: 'error', message: `${name}: ${error.message}` }]
  } finally {
    body.destroy()
  }
}

async function read(name: string, body: MemberToInspect['body']): Promise<string> {
  if (name.endsWith('.globals.sql'))
    return `a dump of roles and tablespaces (${await readPlainFormat(body, 'globals')} bytes)`
  if (name.endsWith('.sql')) return `a dump in SQL of ${await readPlainFormat(body, 'dump')} bytes`
  if (name.endsWith('.directory.tar')) {
    const { version, entries, files, serverVersion } = await readDirectoryTar(body)
    return `a dump of PostgreSQL ${serverVersion} (format ${version}): ${entries} entries, ${files} files`
  }
  if (name.endsWith('.dump')) {
    const { version, entries, tables, largeObjects, serverVersion } = await readCustomFormat(body)
    return `a dump of PostgreSQL ${serverVersion} (format ${version}): ${entries} entries, data of ${tables} tables, ${largeObjects} large objects`
  }
  throw new DumpDamage('It is no member of a logical backup.')
}
