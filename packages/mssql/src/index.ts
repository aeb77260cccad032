export { mssql } from './adapter.ts'
export {
  type BackupFolder,
  type CatalogueFolderOptions,
  catalogueFolder,
  type FolderProblem,
} from './backup-folder.ts'
export {
  type BackupHeader,
  type ChainPlan,
  type ChainTarget,
  planChain as planFolderRecovery,
} from './chain.ts'
export { formatLsn, type Lsn, parseLsn } from './lsn.ts'
export type { MssqlOptions, MssqlRestoreOptions, ServerEncryption } from './options.ts'
export type { MssqlRestoreTarget } from './restore/stop-point.ts'
export type {
  OnServerTransfer,
  ReadBackTransfer,
  SharedFolder,
  SharedFolderTransfer,
  Transfer,
  UrlTransfer,
} from './transfer/options.ts'
