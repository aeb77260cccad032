export type { Catalog } from './catalog.ts'
export { channelPieces } from './child/channel-pieces.ts'
export { feedJob, sendBody } from './child/feed-job.ts'
export { inspectByJob } from './child/inspect-by-job.ts'
export { jobMember, type SentFacts } from './child/job-member.ts'
export { CHANNEL_FD, type JobTable } from './child/messages.ts'
export { openChannel, sendCompressed } from './child/send-compressed.ts'
export { type JobHandlers, type JobTools, serveJobs } from './child/serve-jobs.ts'
export { type JobSettings, type RunningJob, startJob } from './child/start-job.ts'
export type * from './contracts/adapter.ts'
export type * from './contracts/backup.ts'
export type * from './contracts/events.ts'
export type * from './contracts/policy.ts'
export type * from './contracts/storage.ts'
export type * from './contracts/verifier.ts'
export {
  abortError,
  BackupError,
  type BackupErrorOptions,
  ERROR_CODES,
  type ErrorCode,
  throwIfAborted,
  toBackupError,
} from './errors.ts'
export { folderOwner, isAbandonedFolder, makeOwnedFolder } from './owned-folder.ts'
export {
  COMPRESSION_SUFFIX,
  compress,
  compressFrame,
  FRAME_BYTES,
  freeFrame,
  type ReadyFrame,
} from './pipeline/compress.ts'
export { copyToShared } from './pipeline/copy-shared.ts'
export { inOrder } from './pipeline/in-order.ts'
export { borrow, LentBody } from './pipeline/lent-body.ts'
export { decodeMember, type PlainHashing, unpackMember } from './pipeline/member.ts'
export { Meter } from './pipeline/meter.ts'
export { meterFor, ThreadMeter } from './pipeline/thread-meter.ts'
export { unpackWhole } from './pipeline/unpack-whole.ts'
export { wholeBody } from './pipeline/whole-body.ts'
export { type FramePlace, framesIn } from './pipeline/zstd-frames.ts'
export { type BackupPlan, type BackupPlanOptions, type Destination, defineBackupPlan } from './plan.ts'
export { livenessOf, ownIdentity, type ProcessIdentity } from './process-identity.ts'
export { type Calendar, type CalendarUnit, createCalendar } from './retention/calendar.ts'
export { decideRetention } from './retention/decide.ts'
export {
  type CalendarDuration,
  type DurationInput,
  formatDuration,
  type ParsedDuration,
  parseDuration,
} from './retention/duration.ts'
export { explainRetention } from './retention/explain.ts'
export { type ForecastOptions, forecastRetention, type RetentionForecast } from './retention/forecast.ts'
export { keepAll } from './retention/keep-all.ts'
export { keepAny } from './retention/keep-any.ts'
export { type KeepCountsOptions, keepCounts } from './retention/keep-counts.ts'
export { keepLast } from './retention/keep-last.ts'
export { defaultRetention, type KeepWithinOptions, keepWithin } from './retention/keep-within.ts'
export { directory } from './storage/directory.ts'
export { assertKey, assertPrefix, isKeySegment } from './storage/key.ts'
export { memory } from './storage/memory.ts'
export { readOnly } from './storage/read-only.ts'
export { type RetryOptions, withRetry } from './storage/retry.ts'
export { type BackupResult, type CreateBackupOptions, createBackup } from './verbs/create-backup.ts'
export type { FollowHealth } from './verbs/follow-health.ts'
export { type FollowLogOptions, followLog, type LogFollowing } from './verbs/follow-log.ts'
export type { FollowMergeOptions } from './verbs/follow-merge.ts'
export { holdBackup, releaseBackup } from './verbs/hold-backup.ts'
export { listBackups } from './verbs/list-backups.ts'
export { type MergedLog, type MergeOptions, type MergeResult, mergeLogs } from './verbs/merge-logs.ts'
export { planRecovery, type RecoveryPlan, type RecoveryTarget } from './verbs/plan-recovery.ts'
export {
  type DestinationPrune,
  type PruneBackupsOptions,
  type PruneResult,
  pruneBackups,
} from './verbs/prune-backups.ts'
export {
  type ChainWindow,
  type ReachableStretch,
  type RecoveryGap,
  type RecoveryWindow,
  recoveryWindow,
} from './verbs/recovery-window.ts'
export { type RestoreBackupOptions, type RestoreResult, restoreBackup, undoRestore } from './verbs/restore-backup.ts'
export type { VerbOptions } from './verbs/run.ts'
export { type VerificationReport, type VerifyBackupOptions, verifyBackup } from './verbs/verify-backup.ts'
