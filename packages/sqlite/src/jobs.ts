import type {
  Compression,
  Finding,
  LogSourceStatus,
  ManifestMember,
  SentFacts,
  StreamFacts,
} from '@taskflow-backup/core'
import type { BaseInput } from './base-state.ts'
import type { Limit } from './changes/choose-steps.ts'
import type { Step } from './changes/format.ts'
import type { LogOutline } from './changes/log-facts.ts'
import type { Until } from './child/captured.ts'
import type { CapturedLog } from './child/captured-log.ts'

// What the app's process asks of the child, and what it gets back. All of it is plain data that goes over IPC.

/** How the child reads a database. */
export interface SourceSettings {
  /** Absolute path. */
  readonly file: string
  /** How long SQLite waits for a lock. */
  readonly busyTimeoutMs: number
  /** Longest time for which a copy of a database in rollback-journal mode may keep writers waiting. */
  readonly maxWriterBlockMs: number
  /** After this long the rest of the image goes to a temporary file, so that the write-ahead log can shrink again. */
  readonly releaseAfterMs: number
  /** Folder for that temporary file. */
  readonly temporaryDirectory: string
  /** Use SQLite's own online backup although the single pass would be sound. */
  readonly forceOnlineBackup: boolean
}

/** What a database looks like at the moment of its image. */
export interface DatabaseFacts {
  readonly sqliteVersion: string
  readonly journalMode: string
  readonly pageSize: number
  readonly pageCount: number
  readonly encoding: string
  readonly autoVacuum: number
  readonly userVersion: number
  readonly applicationId: number
  readonly tables: number
}

/** How an image was made. */
export type ImageMethod = 'single-pass' | 'online-backup' | 'static-copy'

export interface ImageFacts {
  readonly database: DatabaseFacts
  readonly plain: StreamFacts
  readonly stored: StreamFacts
  readonly method: ImageMethod
  /** ISO 8601. */
  readonly consistentAt: string
  /** Where in the database's history the image stands: `wal:<salts>:<frame>` or `file:<change counter>`. */
  readonly mark: string
  /** `PageTable.state`; absent when the page hashes could not be written. */
  readonly state?: string
  readonly notes: readonly string[]
}

/** What a job tells that wrote one step of changes to a file. */
export interface ChangesFacts extends SentFacts {
  readonly database: DatabaseFacts
  readonly step: Omit<Step, 'commits'>
  /** Pages written. */
  readonly pages: number
  readonly notes: readonly string[]
}

/** What a job tells that wrote a log to a file. */
export interface LogFacts extends SentFacts {
  readonly log: CapturedLog
  readonly database: DatabaseFacts
  readonly notes: readonly string[]
}

/** What the parent asks of the job that follows the log; see `LogSource` of core. */
export type FollowRequest =
  | { readonly ask: 'status' }
  | { readonly ask: 'pending'; readonly waitMs: number }
  | { readonly ask: 'write'; readonly output: string; readonly compression: Compression; readonly until?: Until }
  | { readonly ask: 'committed' }
  | { readonly ask: 'continueFrom'; readonly base: BaseInput }

/** What it answers. */
export type FollowReplies = {
  status: LogSourceStatus
  pending: boolean
  write: LogFacts
  committed: null
  continueFrom: null
}

export interface SwapSettings {
  /** Complete database file that takes the place of `target`, in the same file system; `null` when nothing shall be there. */
  readonly staged: string | null
  readonly target: string
  /** Folder to make for what is at `target` now. */
  readonly kept: string
  readonly evenIfInUse: boolean
  readonly busyTimeoutMs: number
}

/** A full and the changes after it, whose stored members come in on the channel in the order in which they stand here. */
export interface RebuildSettings {
  /** Does not exist yet. */
  readonly file: string
  readonly pageSize: number
  readonly image: ManifestMember
  /** The hashes beside the image, where they are to be checked as well. */
  readonly pageHashes?: ManifestMember
  readonly changes: readonly StoredChanges[]
  readonly limit: Limit
}

/** A differential or log with its member `.changes`. */
export interface StoredChanges {
  readonly kind: 'differential' | 'log'
  readonly member: ManifestMember
  /** Number of a commit of its chain that it is not before. */
  readonly commit?: number
}

/** What a whole database file is known by. */
export interface StateOfFile {
  readonly pageSize: number
  /** `PageTable.state` */
  readonly state: string
  /** Number of its last commit in the chain, where that is known. */
  readonly commit?: number
}

/** Logs that follow on one another, whose stored members `.changes` come in on the channel. */
export interface MergeSettings {
  readonly logs: readonly ManifestMember[]
  /** Only moments so far apart are kept. */
  readonly resolutionMs?: number
  /** Milliseconds since 1970 of the state that the first of them continues. */
  readonly after: number
  /** New file for what they make together. */
  readonly file: string
  readonly temporaryDirectory: string
  readonly compression: Compression
}

/** The log that was made of several. */
export type MergeFacts = SentFacts & LogOutline

/** A process that has a file open. */
export interface Opener {
  readonly pid: number
  readonly command: string
}

/** Every job with its input and its result. */
export type Jobs = {
  describe: { input: SourceSettings; result: DatabaseFacts }
  image: {
    /** `pageHashes`: file to make for the hashes of all pages; `null` where there is no place for it. */
    input: SourceSettings & { readonly compression: Compression; readonly pageHashes: string | null }
    result: ImageFacts
  }
  differential: {
    /** `output`: file to make for the changes. `skewMs`: how far the plan's clock is ahead of the system's. */
    input: SourceSettings & {
      readonly base: BaseInput
      readonly output: string
      readonly compression: Compression
      readonly skewMs: number
    }
    result: ChangesFacts
  }
  log: {
    input: SourceSettings & {
      readonly base: BaseInput
      readonly output: string
      readonly compression: Compression
      readonly skewMs: number
    }
    result: LogFacts
  }
  /** Goes on until it is ended. */
  follow: {
    input: SourceSettings & { readonly base: BaseInput; readonly everyMs: number; readonly skewMs: number }
    result: never
  }
  /** Result: what the file must be; `null` when only a full was put there. */
  rebuild: { input: RebuildSettings; result: StateOfFile | null }
  merge: { input: MergeSettings; result: MergeFacts }
  check: { input: { readonly file: string; readonly expected: StateOfFile | null }; result: readonly Finding[] }
  /** Other processes that have the file open, where the system tells. */
  openers: { input: { readonly file: string }; result: readonly Opener[] }
  /** Result: whether there was a database that is kept now. */
  swap: { input: SwapSettings; result: { readonly keptDatabase: boolean } }
}

export type JobName = keyof Jobs
