import type { AdapterContext, OpenBackup } from './adapter.ts'
import type { Finding } from './backup.ts'

/** Checks one backup. What it finds is returned, not thrown; a finding of severity `error` fails the verification. */
export type Verifier = (backup: OpenBackup, ctx: AdapterContext) => Promise<readonly Finding[]>
