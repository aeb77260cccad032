import type { Finding } from '@taskflow-backup/core'
import type { BaseBackupFacts, BaseBackupInput } from './child/base-backup.ts'
import type { WalInput } from './child/wal.ts'
import type { LogicalJobs } from './logical/jobs.ts'
import type { LayOutInput, LayOutResult } from './physical/lay-out-job.ts'

/** Every job of the child program with its input and its result: plain data that goes over IPC. */
export type Jobs = LogicalJobs & {
  /** Sends the archives and the manifest of a base backup over the channel, framed as in `member-channel.ts`. */
  baseBackup: { input: BaseBackupInput; result: BaseBackupFacts }
  /** Sends a part of the write-ahead log in the same way. */
  wal: { input: WalInput; result: null }
  /** Reads the plain content of a member from the channel and says whether it is whole. */
  scanMember: { input: { readonly name: string; readonly plainBytes: number }; result: readonly Finding[] }
  /** Builds a data directory of the stored members that come in on the channel one after another. */
  layOut: { input: LayOutInput; result: LayOutResult }
}

export type JobName = keyof Jobs
