import type { Readable } from 'node:stream'
import type { Finding } from '@taskflow-backup/core'
import { readCustomFormat } from './custom-format.ts'
import type { NewSyncInflate } from './decoder.ts'
import { readDirectoryTar } from './directory-tar.ts'
import { DumpDamage } from './dump-reader.ts'
import { readPlainFormat } from './plain-format.ts'

/**
 * Checks the format of a dump without a server, from its begin to its end, with bounded memory. `newSyncInflate`
 * gives what inflates.
 */
export async function inspectDump(
  name: string,
  body: Readable,
  _plainBytes?: number,
  newSyncInflate?: NewSyncInflate,
): Promise<Finding[]> {
  const check = 'dump-format'
  try {
    return [{ check, severity: 'ok', message: `${name} is ${await read(name, body, newSyncInflate)}.` }]
  } catch (error) {
    if (!(error instanceof DumpDamage)) throw error
    return [{ check, severity: 'error', message: `${name}: ${error.message}` }]
  }
}

async function read(name: string, body: Readable, newSyncInflate: NewSyncInflate | undefined): Promise<string> {
  if (name.endsWith('.globals.sql'))
    return `a dump of roles and tablespaces (${await readPlainFormat(body, 'globals')} bytes)`
  if (name.endsWith('.sql')) return `a dump in SQL of ${await readPlainFormat(body, 'dump')} bytes`
  if (name.endsWith('.directory.tar')) {
    const { version, entries, files, serverVersion } = await readDirectoryTar(body)
    return `a dump of PostgreSQL ${serverVersion} (format ${version}): ${entries} entries, ${files} files`
  }
  if (name.endsWith('.dump')) {
    const { version, entries, tables, largeObjects, serverVersion } = await readCustomFormat(body, newSyncInflate)
    return `a dump of PostgreSQL ${serverVersion} (format ${version}): ${entries} entries, data of ${tables} tables, ${largeObjects} large objects`
  }
  throw new DumpDamage('It is no member of a logical backup.')
}
