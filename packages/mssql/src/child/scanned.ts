import type { ScannedFile } from '../jobs.ts'
import { formatPosition } from '../lsn.ts'
import type { MtfFile } from '../mtf/types.ts'

/** What was found in a file, as plain data that goes over IPC: it takes no bigint. */
export function toScanned(name: string, { compressed, sets, bareSets, bytes }: MtfFile): ScannedFile {
  return {
    name,
    bytes,
    compressed,
    bareSets,
    sets: sets.map((set) => ({
      name: set.name,
      kind: set.kind,
      database: set.database,
      server: set.server,
      build: set.build,
      firstLsn: formatPosition(set.firstLsn),
      lastLsn: formatPosition(set.lastLsn),
      checkpointLsn: formatPosition(set.checkpointLsn),
      databaseBackupLsn: formatPosition(set.databaseBackupLsn),
    })),
  }
}
