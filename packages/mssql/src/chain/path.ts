import type { Lsn } from '../lsn.ts'
import { type LocalMs, parseLocalTime } from '../server-time.ts'
import { compare, LogCoverage } from './coverage.ts'
import type { BackupHeader } from './types.ts'

/**
 * One recovery path and what leads to it. A database that was restored to an earlier moment and opened goes on from
 * there on a path of its own, whose log sequence numbers are used a second time.
 */
export class RecoveryPath {
  /** Undefined: nothing is known about paths. */
  readonly fork: string | undefined
  /** Backups from which the end of the path can be reached. */
  readonly backups: readonly BackupHeader[]
  readonly #all: readonly BackupHeader[]
  #coverage: LogCoverage | undefined
  #data: ReturnType<typeof dataStarts> | undefined

  constructor(fork: string | undefined, backups: readonly BackupHeader[], all: readonly BackupHeader[]) {
    this.fork = fork
    this.backups = backups
    this.#all = all
  }

  /** Where a recovery on this path can begin, the latest first. */
  get starts(): readonly DataStart[] {
    this.#data ??= dataStarts(this.backups, this.#all)
    return this.#data.starts
  }

  /** Differentials whose full is not there, or is copy-only. */
  get baseless(): readonly BackupHeader[] {
    this.#data ??= dataStarts(this.backups, this.#all)
    return this.#data.baseless
  }

  /** Of the logs. */
  get coverage(): LogCoverage {
    this.#coverage ??= new LogCoverage(this.backups.filter(({ kind }) => kind === 'log'))
    return this.#coverage
  }
}

/** A full, or a full and a differential, that logs can continue. */
export interface DataStart {
  readonly full: BackupHeader
  readonly differential?: BackupHeader
  /** Where the database stands afterwards. */
  readonly lsn: Lsn
  /** When nothing in it can be later than this. */
  readonly finished: LocalMs
}

/**
 * All starts on a recovery path, the latest first, and the differentials that have no base. The base of a differential
 * may be on any path: with its differential it leads to this one.
 */
function dataStarts(
  path: readonly BackupHeader[],
  all: readonly BackupHeader[],
): { starts: DataStart[]; baseless: BackupHeader[] } {
  const starts: DataStart[] = []
  const baseless: BackupHeader[] = []
  const bases = new Map<Lsn, BackupHeader>()
  for (const backups of [all, path])
    for (const full of backups) if (full.kind === 'full' && !full.copyOnly) bases.set(full.checkpointLsn, full)
  for (const backup of path) {
    if (backup.kind === 'log') continue
    const at = { lsn: backup.lastLsn, finished: finishedBy(backup) }
    const base = bases.get(baseOf(backup))
    if (backup.kind === 'full') starts.push({ full: backup, ...at })
    else if (base && sameFamily(base, backup)) starts.push({ full: base, differential: backup, ...at })
    else baseless.push(backup)
  }
  starts.sort((a, b) => compare(b.lsn, a.lsn) || (a.differential ? 1 : 0) - (b.differential ? 1 : 0))
  return { starts, baseless }
}

const sameFamily = (a: BackupHeader, b: BackupHeader): boolean =>
  a.familyGuid === undefined || b.familyGuid === undefined || a.familyGuid === b.familyGuid

/** Checkpoint LSN of the full that a differential needs. */
export const baseOf = ({ differentialBaseLsn, databaseBackupLsn }: BackupHeader): Lsn =>
  differentialBaseLsn ?? databaseBackupLsn

/** Times are cut to the second where they have no fraction: the backup may hold what was committed within it. */
const finishedBy = ({ finishedAt }: BackupHeader): LocalMs =>
  parseLocalTime(finishedAt) + (finishedAt.includes('.') ? 0 : 1000)
