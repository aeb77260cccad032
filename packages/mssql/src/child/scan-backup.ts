import { BackupError, type Finding } from '@taskflow-backup/core'
import { MtfScanner } from '../mtf/scanner.ts'
import type { MtfFile } from '../mtf/types.ts'

/** Reads a backup file from its begin to its end and says whether it is whole. */
export async function scanBackup(name: string, body: AsyncIterable<Uint8Array>): Promise<Finding[]> {
  const check = 'backup-format'
  const scanner = new MtfScanner(name)
  let file: MtfFile
  try {
    for await (const piece of body) scanner.update(piece)
    file = scanner.end()
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'MEMBER_DAMAGED') throw error
    return [{ check, severity: 'error', message: error.message, code: error.code }]
  }
  return [{ check, severity: 'ok', message: `${name} ${describe(file)}` }]
}

function describe({ compressed, sets, bareSets, bytes }: MtfFile): string {
  const size = `of ${bytes} bytes`
  if (compressed)
    return `is a compressed or encrypted backup ${size} with the marks of a whole file; only a server can tell more.`
  if (sets.length === 0) return `is a stripe of a backup, ${size}, with ${bareSets} part(s).`
  const [{ kind, database, server, build } = {}] = sets as readonly Partial<(typeof sets)[number]>[]
  return `is a ${kind} backup of ${database} by ${server} (SQL Server ${build}), ${size}.`
}
