import type { BackupKind, ManifestMember } from '@taskflow-backup/core'
import { parseMemberName } from './member-names.ts'

/** Who shall own what is written; only root can give files away. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** One backup of a chain whose stored members come in on the channel, in the order of `members`. */
export interface BackupToLay {
  readonly id: string
  readonly kind: BackupKind
  readonly members: readonly ManifestMember[]
}

/** What the child that builds a data directory is told. */
export interface LayOutInput {
  /** A folder that does not exist yet. */
  readonly dataDirectory: string
  /** An empty or new folder for each tablespace, by its oid. */
  readonly tablespaces: { readonly [oid: string]: string }
  /** A full, incremental ones on top of each other, logs. */
  readonly backups: readonly BackupToLay[]
  readonly owner?: Owner
  /** Length of the server's log files. */
  readonly segmentBytes: number
  /** Force everything to disk. A server that is started on it does that by itself. */
  readonly sync: boolean
}

export interface LayOutResult {
  /** Where in the log recovery begins. */
  readonly startLsn: string
  readonly startTimeline: number
}

/**
 * The order in which the members of a backup are wanted: of a base backup the server's manifest first, against which the
 * others are held.
 */
export function inLayingOrder(members: readonly ManifestMember[]): ManifestMember[] {
  const isManifest = ({ name }: ManifestMember): boolean => parseMemberName(name)?.kind === 'backup_manifest'
  return [...members.filter(isManifest), ...members.filter((member) => !isManifest(member))]
}
