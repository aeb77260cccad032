import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { MemberToInspect } from '../contracts/adapter.ts'
import type { Finding } from '../contracts/backup.ts'
import { BackupError } from '../errors.ts'
import type { RunningJob } from './start-job.ts'

/** A member up to this size is looked at in the app's process; a child takes longer to start. */
const SMALL_BYTES = 1024 * 1024

/** Checks the format of one member in a child process, by the job that `start` starts; of a small one `here`. */
export async function inspectByJob(
  { body, plainBytes }: MemberToInspect,
  start: () => RunningJob<readonly Finding[]>,
  here: (body: Readable) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  if (plainBytes <= SMALL_BYTES) {
    try {
      return await here(body)
    } finally {
      body.destroy()
    }
  }
  const job = start()
  const [sent, found] = await Promise.allSettled([pipeline(body, job.channel), job.result])
  // A body that failed is the reason for whatever the child says about what it got.
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  if (found.status === 'rejected') throw found.reason
  if (sent.status === 'rejected' && found.value.every(({ severity }) => severity === 'ok')) throw sent.reason
  return found.value
}
