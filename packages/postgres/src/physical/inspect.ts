import { pipeline } from 'node:stream/promises'
import { type AdapterContext, BackupError, type Finding, type MemberToInspect } from '@taskflow-backup/core'
import { startJob } from '../child-process.ts'
import { scanMember } from './scan-member.ts'

/** A member up to this size is looked at here; a child takes longer to start. */
const SMALL_BYTES = 1024 * 1024

/** Checks the format of one member of a physical backup, without a server. */
export async function inspectMember(
  { name, body, plainBytes }: MemberToInspect,
  ctx: AdapterContext,
): Promise<readonly Finding[]> {
  if (plainBytes <= SMALL_BYTES) {
    try {
      return await scanMember(name, body as AsyncIterable<Buffer>, plainBytes)
    } finally {
      body.destroy()
    }
  }
  const job = startJob('scanMember', { name, plainBytes }, ctx)
  const [sent, scanned] = await Promise.allSettled([pipeline(body, job.channel), job.result])
  // A body that failed is the reason for whatever the child says about what it got.
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  if (scanned.status === 'rejected') throw scanned.reason
  if (sent.status === 'rejected' && scanned.value.every(({ severity }) => severity === 'ok')) throw sent.reason
  return scanned.value
}
