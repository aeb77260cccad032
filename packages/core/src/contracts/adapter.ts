import type { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import type {
  BackupKind,
  CodecUse,
  Finding,
  JsonValue,
  LogGap,
  Manifest,
  PositionRange,
  SourceFacts,
  StreamFacts,
} from './backup.ts'

/** How the plan wants members compressed. */
export interface Compression {
  readonly algorithm: 'zstd' | 'gzip' | 'none'
  /** zstd 1 to 19, gzip 1 to 9; 0 for `none`. */
  readonly level: number
}

/** How far a piece of work has come. */
export interface Progress {
  readonly bytes: number
  /** Absent when it is not known. */
  readonly totalBytes?: number
}

/** Clocks, ids and processes: everything from outside that an adapter or a verb uses. */
export interface Runtime {
  readonly now: () => Date
  /** A random id of `length` characters from `a-z` and `0-9`. */
  readonly randomId: (length: number) => string
  readonly spawn: typeof spawn
  /** Folder below which temporary files may be made. */
  readonly temporaryDirectory: string
}

/** What core hands to every call of an adapter. */
export interface AdapterContext extends Runtime {
  readonly signal: AbortSignal
  readonly onProgress: (progress: Progress) => void
  /** Something worth telling that does not fail the work. */
  readonly onWarning: (message: string) => void
}

/** What core asks of {@link BackupAdapter.backup}. Core decides which backup, the adapter how. */
export interface BackupRequest {
  readonly kind: BackupKind
  readonly id: string
  readonly startedAt: Date
  /** Begin of every member's name, for example `taskmanagement_backup_20261122_020000`. */
  readonly fileStem: string
  readonly compression: Compression
  /** What this one continues; absent for a full. */
  readonly base?: BackupBase
}

/** The chain that a differential or log backup belongs to, to be read where needed. */
export interface BackupBase {
  readonly full: OpenBackup
  /** The backup that this one continues: for a differential the full; for a log the last log, or the full. */
  readonly previous: OpenBackup
  /** The chain's newest log backup, if there is one. */
  readonly newestLog?: Manifest
  /**
   * The log backups that lead from the full to `newestLog` without a gap, in their order. Their manifests are read only
   * now: there may be many.
   *
   * @throws `BASE_UNUSABLE` when they have a gap or one of their manifests cannot be read
   */
  logs(): Promise<readonly OpenBackup[]>
}

/**
 * One named stream of bytes of a backup.
 *
 * The end of `body` is withheld until the source said that it succeeded; otherwise `body` is destroyed with an error.
 */
export interface Member {
  /** File name of the plain content: letters, digits, `.`, `_` and `-`. */
  readonly name: string
  readonly body: Readable
  /** Set when `body` is compressed already; core then skips that stage. */
  readonly encoded?: {
    readonly codecs: readonly CodecUse[]
    /** Length and hash of the plain content; called after `body` has ended. */
    readonly plain: () => StreamFacts
    /**
     * Length and hash of `body` itself, where the source has them: then the app's process need not hash it again.
     * Called after `body` has ended; the length is held against what arrived.
     */
    readonly stored?: () => StreamFacts
  }
}

/** What is known when the last member has ended. */
export interface BackupFacts {
  /** The moment whose state the backup holds. */
  readonly consistentAt: Date
  readonly position: PositionRange
  readonly source: SourceFacts
  readonly method: string
  readonly notes: readonly string[]
  /** Of a log; see {@link Manifest}. */
  readonly resolutionMs?: number
  /** Of a log; see {@link Manifest}. */
  readonly gaps?: readonly LogGap[]
}

/** A backup whose members can be read: fetched, decrypted, decompressed and checked on the way. */
export interface OpenBackup {
  readonly manifest: Manifest
  /** Name of the destination that it is read from. */
  readonly destination: string
  /** Plain content of a member. The stream fails with `MEMBER_DAMAGED` before its end when anything differs. */
  open(memberName: string): Promise<Readable>
  /**
   * Stored content of a member, not checked: for an adapter that has a process of its own in which `unpackMember`
   * decodes and checks it, so that the app's process does not have to.
   */
  openStored(memberName: string): Promise<Readable>
}

/** Where a restore goes. */
export type RestoreTarget =
  /** Over the live database that the adapter was made for. */
  | { readonly kind: 'live' }
  /** To a place of its own, in the adapter's own terms (a file, a database name). */
  | { readonly kind: 'place'; readonly to: JsonValue; readonly overwrite: boolean }
  /** Somewhere temporary, for a check; never promoted. */
  | { readonly kind: 'scratch' }

/** What core asks of {@link BackupAdapter.restore}: the backups in the order of their use, and where they go. */
export interface RestoreRequest {
  readonly backups: readonly OpenBackup[]
  readonly target: RestoreTarget
  /**
   * Nothing that was committed after this moment may be restored. Given only when the last backup is a log, which may
   * end before it. Without it, everything that the backups hold is restored.
   */
  readonly at?: Date
  /** Replace a database although others have it open. */
  readonly evenIfInUse: boolean
}

/** What brings back the database that a restore replaced. Plain data: it can be stored and used by a later process. */
export interface UndoRecord {
  readonly engine: string
  /** What was replaced, in the adapter's own terms. */
  readonly target: string
  /** Where what was there before is kept; absent when there was nothing. */
  readonly kept?: string
  /** ISO 8601, UTC. */
  readonly promotedAt: string
}

/** Checks of the app on a restored database, run after the engine's own; what it returns is engine-specific. */
export type RestoreCheck = (restored: { readonly location: string }) => Promise<readonly Finding[]>

/** A restored database beside the live one. `restoreBackup`, `verifyBackup` at level `restored` and drills stand on it. */
export interface StagedRestore {
  /** Where the staged database is, in the adapter's own terms. */
  readonly location: string
  /** The engine's own check. */
  check(ctx: AdapterContext): Promise<readonly Finding[]>
  /** Makes it the live database, at one stroke; what was live is kept. */
  promote(ctx: AdapterContext): Promise<UndoRecord>
  /** Leaves nothing behind. Always called when it is not promoted; harmless after `promote`. */
  discard(): Promise<void>
}

/** A member to look at without a server. */
export interface MemberToInspect {
  readonly name: string
  /** Plain content; must be read to its end or destroyed. */
  readonly body: Readable
  readonly plainBytes: number
  /** What the adapter noted in `source.details` of the backup's manifest. */
  readonly details?: SourceFacts['details']
}

/** How the log is followed. */
export interface FollowSettings {
  /** How often it is captured what was committed, in milliseconds. */
  readonly everyMs: number
}

/** What a {@link LogSource} tells about itself. */
export interface LogSourceStatus {
  /** Captured, and in no committed backup yet: bytes, and the age of the oldest in milliseconds (0 when there is none). */
  readonly pendingBytes: number
  readonly pendingMs: number
  /** Bytes that the engine keeps of its own log now. */
  readonly logBytes: number
  /** Time since it was last captured what had been committed, in milliseconds. */
  readonly capturedMsAgo: number
}

/**
 * The log of a database that is being followed. Its calls come one after another, except `status` and `close`. Any call
 * may reject with `BASE_UNUSABLE`; after any other failure it is closed and another one is opened.
 */
export interface LogSource {
  /** Rejects when it ended although nobody closed it. Never resolves before `close`. */
  readonly ended: Promise<void>
  /**
   * Resolves to true when something is pending, to false when after `waitMs` there is still nothing. With 0 it does not
   * wait but captures at once: all that was committed before the call is then pending.
   */
  pending(waitMs: number): Promise<boolean>
  /**
   * A log backup of everything that is pending, also of nothing. What it gave is pending again until `committed`.
   *
   * With `until`, only of what was committed up to the state of that full backup, of another chain; when the two
   * cannot be held against each other, of everything that was captured before it.
   */
  backup(request: BackupRequest, ctx: AdapterContext, until?: Manifest): AsyncGenerator<Member, BackupFacts, void>
  /** The manifest of what `backup` gave last has been stored. */
  committed(manifest: Manifest): Promise<void>
  /**
   * From now on `backup` continues the full of `base`, which has no logs yet. Where that full's state is not among what
   * was captured, the time in between becomes a gap.
   *
   * @throws `BASE_UNUSABLE`
   */
  continueFrom(base: BackupBase): Promise<void>
  status(): Promise<LogSourceStatus>
  close(): Promise<void>
}

/** Knows one database engine. See `docs/writing-an-adapter.md`. */
export interface BackupAdapter {
  /** `sqlite`, `postgres`, `mssql`, or a third party's. */
  readonly engine: string
  readonly kinds: readonly BackupKind[]
  /**
   * How far into a log backup one can restore: `true` up to any moment inside it; `'captured'` up to each moment at
   * which it was captured what had been committed, which can be many in one log; `false` only to its end.
   */
  readonly pointInTime: boolean | 'captured'
  /** Name, version and size of the source; also answers "can I connect, and may I?" */
  describe(ctx: AdapterContext): Promise<SourceFacts>
  /**
   * Yields the members one after another; the next is asked for when the one before has been stored. Returns the facts.
   *
   * @throws `BASE_UNUSABLE` before the first member when a differential or log backup cannot continue its base.
   */
  backup(request: BackupRequest, ctx: AdapterContext): AsyncGenerator<Member, BackupFacts, void>
  /** Builds the restored database beside the target, never over it. Refuses a bad target before it touches anything. */
  restore(request: RestoreRequest, ctx: AdapterContext): Promise<StagedRestore>
  /** Brings back what a promote replaced; returns the record that undoes the undoing. */
  undo(record: UndoRecord, ctx: AdapterContext): Promise<UndoRecord>
  /** Checks the format of one member as far as that is possible without a server. */
  inspect(member: MemberToInspect, ctx: AdapterContext): Promise<readonly Finding[]>
  /** Negative when `a` is before `b` in the engine's history, 0 when they are the same, positive when it is after. */
  comparePositions(a: string, b: string): number
  /**
   * Whether `log`, of a later chain, goes on where `before` ends. An engine whose log does not begin anew with each full
   * can then be recovered to the time between the last log of one chain and the full of the next. Without this method
   * logs only follow on backups of their own chain.
   */
  follows?(log: Manifest, before: Manifest): boolean
  /**
   * For places that say themselves where a restore stops, like SQLite's `{ file, stopAtCommit }`: that position, in the
   * chain of `full`. A recovery then goes through logs rather than through a differential that may be past it.
   *
   * @throws `TARGET_INVALID`
   */
  stopPosition?(to: JsonValue, full: Manifest): string | undefined
  /**
   * Begins to follow the log: from now on everything that is committed is captured, until `close`. For `followLog`.
   *
   * @throws `BASE_UNUSABLE` when the chain of `base` cannot be continued, `SOURCE_BUSY` and the like
   */
  follow?(base: BackupBase, settings: FollowSettings, ctx: AdapterContext): Promise<LogSource>
  /**
   * Makes one log backup of several that follow on one another, as `backup` makes one of the source. With
   * `resolutionMs` only moments so far apart stay reachable in it. For `mergeLogs`.
   */
  merge?(
    logs: readonly OpenBackup[],
    request: BackupRequest & { readonly resolutionMs?: number },
    ctx: AdapterContext,
  ): AsyncGenerator<Member, BackupFacts, void>
  /**
   * Removes what a backup keeps outside of the plan's destinations, like a file that stays on the database server.
   * Called by `pruneBackups` when the last destination is about to lose the backup; when it fails, the backup stays
   * there, and the next prune asks again. Called by `createBackup` when a backup was made but could not be committed.
   * Must not mind what is gone already.
   */
  forget?(backup: Manifest, ctx: AdapterContext): Promise<void>
  /** Removes what killed restores of this adapter left beside the live database. Returns what it removed. */
  removeLeftovers(ctx: AdapterContext): Promise<readonly string[]>
}
