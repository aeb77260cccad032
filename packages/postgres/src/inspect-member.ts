import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type AdapterContext, BackupError, type Finding, type MemberToInspect } from '@taskflow-backup/core'
import { startJob } from './child-process.ts'

/** A member up to this size is looked at in the app's process; a child takes longer to start. */
const SMALL_BYTES = 1024 * 1024

/** Checks the format of one member in a child process, which runs `job`; of a small one `here`. */
export async function inspectMember(
  { name, body, plainBytes }: MemberToInspect,
  job: 'scanMember' | 'inspectDump',
  here: (name: string, body: Readable, plainBytes: number) => Promise<readonly Finding[]>,
  ctx: AdapterContext,
): Promise<readonly Finding[]> {
  if (plainBytes <= SMALL_BYTES) {
    try {
      return await here(name, body, plainBytes)
    } finally {
      body.destroy()
    }
  }
  const started = startJob(job, { name, plainBytes }, ctx)
  const [sent, found] = await Promise.allSettled([pipeline(body, started.channel), started.result])
  // A body that failed is the reason for whatever the child says about what it got.
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  if (found.status === 'rejected') throw found.reason
  if (sent.status === 'rejected' && found.value.every(({ severity }) => severity === 'ok')) throw sent.reason
  return found.value
}
