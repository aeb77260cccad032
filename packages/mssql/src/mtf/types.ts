import type { BackupKind } from '@taskflow-backup/core'
import type { Lsn } from '../lsn.ts'

/** The medium, which for a backup to disk is the file. */
export interface MtfMedia {
  /** MEDIANAME; empty where none was given. */
  readonly name: string
  readonly software: string
  /** Number of the media family. */
  readonly familyId: number
  /** Place of this medium in its family. */
  readonly sequence: number
  /** When the medium was formatted, in the server's local time: `YYYY-MM-DDTHH:MM:SS`. */
  readonly writtenAt: string
  /** The same in all stripes of a backup. */
  readonly mediaSetGuid?: string
  /** True when the file says that it is the whole of its media set; false means that there may be more stripes. */
  readonly single: boolean
}

/** One backup in a file. All times are the server's local time, `YYYY-MM-DDTHH:MM:SS` without a zone. */
export interface MtfSet {
  /** Place in the file, as RESTORE takes it with FILE. Counts from 1. */
  readonly number: number
  /** NAME of the BACKUP statement; empty where none was given. */
  readonly name: string
  /** Login that made the backup. */
  readonly user: string
  readonly kind: BackupKind
  readonly database: string
  /** Name of the server instance. */
  readonly server: string
  /** For instance `13.0.5081`. */
  readonly build: string
  readonly compatibilityLevel: number
  /** Internal version of the database, for instance 852. */
  readonly databaseVersion: number
  readonly firstLsn: Lsn
  readonly lastLsn: Lsn
  readonly checkpointLsn: Lsn
  /** Checkpoint LSN of the last full backup before this one; 0 where there was none. */
  readonly databaseBackupLsn: Lsn
  /** Of a differential: checkpoint LSN of the full backup that it continues. */
  readonly differentialBaseLsn?: Lsn
  /** Tells this backup from every other one. */
  readonly setGuid?: string
  /** Recovery path on which the backup begins. Another one than `lastForkGuid` only in a log that crosses a fork. */
  readonly firstForkGuid?: string
  /** Of a log that crosses a fork: where. */
  readonly forkPointLsn?: Lsn
  /** Recovery path on which the backup ends. */
  readonly lastForkGuid?: string
  /** The same for a database and everything that was restored from it. */
  readonly familyGuid?: string
  /** When the database was created. */
  readonly createdAt?: string
  readonly startedAt: string
  readonly finishedAt: string
  /** True when the backup was made WITH CHECKSUM. */
  readonly hasChecksums: boolean
  /** Streams whose checksum was computed and is right; those of builds whose algorithm is not known are not counted. */
  readonly checkedStreams: number
  /** Size in bytes as the header tells it: msdb's `backup_size`. */
  readonly dataBytes: number
}

/** What a backup file tells about itself. */
export interface MtfFile {
  /** True when the server compressed or encrypted it: then nothing more can be read without the server. */
  readonly compressed: boolean
  readonly media?: MtfMedia
  readonly sets: readonly MtfSet[]
  /** Sets of which this file, one of several stripes, holds a part without a header. */
  readonly bareSets: number
  /** Length of the file. */
  readonly bytes: number
}
