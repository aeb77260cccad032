import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BackupError } from '@taskflow-backup/core'

/** What `global/pg_control` of a data directory says. */
export interface ControlFile {
  readonly systemIdentifier: string
  /** True after a clean stop. */
  readonly shutDown: boolean
  /** Of its last checkpoint. */
  readonly timeline: number
  /** Settings that the server had, for a data directory that comes without `postgresql.conf`. */
  readonly settings: { readonly [name: string]: string }
}

/** Layouts of PostgreSQL 13 to 16, 17 and 18: the same in what is read here. */
const KNOWN_LAYOUTS = [1300, 1700, 1800]
const SHUT_DOWN = 1
const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/** @throws `TARGET_INVALID` when there is none that can be read */
export async function readControlFile(dataDirectory: string): Promise<ControlFile> {
  const file = join(dataDirectory, 'global', 'pg_control')
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new BackupError('TARGET_INVALID', `${dataDirectory} is no data directory: ${file} cannot be read.`, { cause })
  })
  if (bytes.length < 256) throw new BackupError('TARGET_INVALID', `${file} is too short.`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const int = (at: number): number => view.getInt32(at, LITTLE_ENDIAN)
  const known = KNOWN_LAYOUTS.includes(int(8))
  return {
    systemIdentifier: view.getBigUint64(0, LITTLE_ENDIAN).toString(),
    shutDown: int(16) === SHUT_DOWN,
    timeline: int(48),
    settings: known
      ? {
          wal_level: ['minimal', 'replica', 'logical'][int(172)] ?? 'replica',
          max_connections: String(int(180)),
          max_worker_processes: String(int(184)),
          max_wal_senders: String(int(188)),
          max_prepared_transactions: String(int(192)),
          max_locks_per_transaction: String(int(196)),
          track_commit_timestamp: bytes[200] === 1 ? 'on' : 'off',
        }
      : {},
  }
}
