import type { BackupKind, Compression, Finding, ManifestMember, SentFacts } from '@taskflow-backup/core'

// What the app's process asks of the child, and what it gets back. All of it is plain data that goes over IPC.

/** Where the bytes of a backup file come from. */
export type BackupSource =
  | { readonly file: string }
  /** The channel; its end cannot be told on every system, so its length is. */
  | { readonly channelBytes: number }

/** A backup in a file, as its own header tells. */
export interface ScannedSet {
  readonly name: string
  readonly kind: BackupKind
  readonly database: string
  readonly server: string
  readonly build: string
  /** LSNs are 25 digits. */
  readonly firstLsn: string
  readonly lastLsn: string
  readonly checkpointLsn: string
  readonly databaseBackupLsn: string
}

/** What the reader found in one backup file. */
export interface ScannedFile {
  /** Of the member. */
  readonly name: string
  /** Length of the file. */
  readonly bytes: number
  /** Why the reader could not make sense of it; then the rest tells nothing. */
  readonly unread?: string
  /** By the server: then it cannot be told what is in it. */
  readonly compressed: boolean
  readonly sets: readonly ScannedSet[]
  /** Parts of sets without a header: this is one of several stripes. */
  readonly bareSets: number
}

/** What was sent. */
export interface SentFile extends SentFacts {
  readonly scanned: ScannedFile
}

/** Every job of the child program with its input and its result. */
export type Jobs = {
  /** Reads a backup file, checks its format, compresses it and sends it over the channel. */
  sendBackup: {
    input: { readonly name: string; readonly source: BackupSource; readonly compression: Compression }
    result: SentFile
  }
  /** Reads the plain content of a member from the channel and says whether it is whole. */
  scanBackup: { input: { readonly name: string }; result: readonly Finding[] }
  /** Decodes a stored member that comes in on the channel, checks it, and writes it to a new file. */
  unpackBackup: {
    input: { readonly file: string; readonly member: ManifestMember; readonly fileMode: number }
    result: null
  }
}

export type JobName = keyof Jobs
