export { spawnToKill } from './adapter/spawn-to-kill.ts'
export type { AdapterInstance, AdapterSubject } from './adapter/subject.ts'
export { adapterCases } from './adapter-cases.ts'
export { brokenStream, collect, patterned, readAll, streamOf } from './bytes.ts'
export type { ConformanceCase } from './conformance-case.ts'
export { rejects, settled } from './expect.ts'
export {
  type Fault,
  type FaultWhen,
  type FaultyStorage,
  faulty,
  type StorageCall,
  type StorageOperation,
} from './faulty.ts'
export { type Ledger, type LedgerOptions, ledger } from './ledger.ts'
export {
  formatPosition,
  type LedgerEntry,
  type LedgerHeader,
  type LedgerPosition,
  parsePosition,
  readMember,
  writeMember,
} from './ledger-format.ts'
export { ledgerSubject } from './ledger-subject.ts'
export { runCases, type TestContext, type TestFunction } from './run-cases.ts'
export type { StorageSubject } from './storage/subject.ts'
export { storageCases } from './storage-cases.ts'
