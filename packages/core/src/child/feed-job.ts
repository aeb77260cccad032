import type { Readable, Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { BackupError, toBackupError } from '../errors.ts'
import { borrow } from '../pipeline/lent-body.ts'
import type { RunningJob } from './start-job.ts'

/**
 * Hands `body` on to a job over its channel and gives what the job gives. The bytes are borrowed, not copied, where the
 * body lends them.
 *
 * @throws what `body` fails with when that is a `BackupError`, since it is the reason for whatever the job says then;
 * else what the job throws; `CHILD_FAILED` when the channel breaks
 */
export async function feedJob<Result>(
  body: Readable,
  job: Pick<RunningJob<Result>, 'channel' | 'result'>,
): Promise<Result> {
  const [sent, done] = await Promise.allSettled([sendBody(body, job.channel), job.result])
  if (sent.status === 'rejected' && sent.reason instanceof BackupError) throw sent.reason
  if (done.status === 'rejected') throw done.reason
  if (sent.status === 'rejected') throw toBackupError(sent.reason, 'CHILD_FAILED', 'Cannot hand the backup on')
  return done.value
}

/** Writes `body` to a channel and ends that. A channel that closes before ends it even while the body stands still. */
export async function sendBody(body: Readable, channel: Writable): Promise<void> {
  const stop = (): void => void body.destroy()
  channel.once('close', stop)
  try {
    // A piece that is lent is gone when the next is asked for.
    for await (const piece of borrow(body)) await write(channel, piece)
    await finished(channel.end(), { readable: false })
  } catch (error) {
    channel.destroy()
    throw error
  } finally {
    channel.off('close', stop)
    body.destroy()
  }
}

const write = (channel: Writable, piece: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => channel.write(piece, (error) => (error ? reject(error) : resolve())))
