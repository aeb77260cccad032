/** What a backup holds: everything, what changed since the chain's full, or what was committed since the last backup. */
export type BackupKind = 'full' | 'differential' | 'log'

/** A value that survives `JSON.stringify` and `JSON.parse` unchanged. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue }

/** Length in bytes and SHA-256 (64 lower-case hex digits) of a stream of bytes. */
export interface StreamFacts {
  readonly bytes: number
  readonly sha256: string
}

/** One transformation that was applied to a member on its way to storage, in the order in which it was applied. */
export interface CodecUse {
  /** `zstd`, `gzip`, or the name of an encryption. */
  readonly name: string
  /** Compression level, where the codec has one. */
  readonly level?: number
}

/** Where in the engine's own history a backup begins and ends. Opaque to core; compared by the adapter. */
export interface PositionRange {
  /** Absent for a full backup. */
  readonly begin?: string
  readonly end: string
}

/** What the source looked like when it was backed up. Never holds a secret. */
export interface SourceFacts {
  /** Name of the database, as its users call it. */
  readonly name: string
  /** Version of the engine that runs it. */
  readonly engineVersion: string
  /** Size of the database in bytes, where it is cheap to know. */
  readonly sizeBytes?: number
  /** Anything else worth keeping: page size, journal mode, table counts. */
  readonly details?: { readonly [key: string]: JsonValue }
}

/** One named stream of bytes of a backup, as its manifest describes it. */
export interface ManifestMember {
  /** Name of the plain content, for example `taskmanagement_backup_20261122_020000.db`. */
  readonly name: string
  /** Name of the stored object inside the backup's folder: `name` plus one suffix per codec. */
  readonly file: string
  readonly codecs: readonly CodecUse[]
  readonly plain: StreamFacts
  readonly stored: StreamFacts
}

/** A stretch of time inside a log backup that cannot be restored to, only its end. Times as in a manifest. */
export interface LogGap {
  readonly after: string
  readonly until: string
  /** One sentence for a person. */
  readonly reason: string
}

/** The record that commits a backup. Stored last, as `manifest.json`; described field by field in `docs/format.md`. */
export interface Manifest {
  readonly formatVersion: 1
  readonly generator: { readonly name: string; readonly version: string }
  /** `<chain>/<backup>`: the backup's folder below the plan's. */
  readonly id: string
  readonly plan: string
  readonly chain: string
  readonly kind: BackupKind
  /** Set when another kind was made than was asked for. */
  readonly requested?: { readonly kind: BackupKind; readonly reason: string }
  /** Ids of the full and of the last backup that this one continues; absent for a full. */
  readonly base?: { readonly full: string; readonly previous: string }
  readonly engine: { readonly name: string; readonly version: string }
  /** UTC, ISO 8601 with milliseconds, as are the other times. */
  readonly startedAt: string
  /** The moment whose state the backup holds. */
  readonly consistentAt: string
  readonly finishedAt: string
  readonly position: PositionRange
  readonly members: readonly ManifestMember[]
  readonly source: SourceFacts
  /** How the adapter made it, for example `single-pass`. */
  readonly method: string
  /** What a person should know about this backup, for example why a fallback was used. */
  readonly notes: readonly string[]
  /**
   * Of a log, where not every moment inside it can be restored to: how far apart those that can be are at most, in
   * milliseconds, from where it begins and without its gaps.
   */
  readonly resolutionMs?: number
  /** Of a log: stretches in which something was committed that cannot be told apart any more. */
  readonly gaps?: readonly LogGap[]
}

/** The three depths of verification; each includes the one before. */
export type VerificationLevel = 'stored' | 'decoded' | 'restored'

/** One thing that a check found. */
export interface Finding {
  /** What was checked, for example `member-hash` or `integrity_check`. */
  readonly check: string
  readonly severity: 'ok' | 'warning' | 'error'
  /** One sentence for a person. */
  readonly message: string
  /** Code of the error behind it, where there is one. */
  readonly code?: string
}

/** One committed backup as a listing shows it, without reading its manifest. */
export interface CatalogEntry {
  /** `<chain>/<backup>`. */
  readonly id: string
  readonly chain: string
  readonly kind: BackupKind
  /** When the backup was started: the time in its id. */
  readonly startedAt: Date
  /** Bytes that it occupies in one destination. */
  readonly storedBytes: number
  /** Names of the destinations that hold it whole. */
  readonly destinations: readonly string[]
  /** The deepest verification that it passed and that no later one contradicts. */
  readonly verified?: VerificationLevel
  /** True when the last verification of some level failed. */
  readonly failedVerification: boolean
  /** True when its chain is on hold. */
  readonly held: boolean
}
