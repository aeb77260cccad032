// The process that opens database files. POSIX drops all locks that a process holds on a file when it closes any
// descriptor of it, so the app's own process, whose connections may hold locks, never opens one.
import { BackupError, toBackupError } from '@taskflow-backup/core'
import type { Answer, JobMessage, Jobs } from '../jobs.ts'
import { checkDatabase } from './check.ts'
import { describeDatabase } from './describe.ts'
import { openSource } from './open-source.ts'
import { findOpeners } from './openers.ts'
import { sendImage } from './send-image.ts'
import { swap } from './swap.ts'
import { unpack } from './unpack.ts'

const PROGRESS_MS = 100

process.once('message', (message: JobMessage) => {
  run(message).then(
    (result) => finish(message, { type: 'result', result }),
    (thrown: unknown) => {
      const {
        code,
        message: text,
        hint,
        retryable,
      } = toBackupError(thrown, 'CHILD_FAILED', `The job ${message.job} failed`)
      finish(message, { type: 'error', error: { code, message: text, hint, retryable } })
    },
  )
})
// The app is gone: whoever would read the result is gone with it. No exit handler may run, see `finish`.
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'))

async function run(message: JobMessage): Promise<Jobs[JobMessage['job']]['result']> {
  switch (message.job) {
    case 'describe':
      return describeDatabase(openSource(message.input.file, message.input.busyTimeoutMs))
    case 'image':
      return sendImage(message.input, throttled())
    case 'unpack':
      return unpack(message.input)
    case 'check':
      return checkDatabase(message.input.file)
    case 'openers':
      return findOpeners(message.input.file)
    case 'swap':
      return swap(message.input, (text) => send({ type: 'warning', message: text }))
    default:
      throw new BackupError('INTERNAL', 'The child process was asked for a job that it does not know.')
  }
}

function throttled(): (bytes: number, totalBytes: number) => void {
  let toldAtMs = 0
  return (bytes, totalBytes) => {
    const nowMs = performance.now()
    if (nowMs - toldAtMs < PROGRESS_MS && bytes < totalBytes) return
    toldAtMs = nowMs
    send({ type: 'progress', bytes, totalBytes })
  }
}

function send(answer: Answer, sent: () => void = () => {}): void {
  process.send?.(answer, sent)
}

function finish({ job }: JobMessage, answer: Answer): void {
  send(answer, () => {
    // A swap ends with its lock held, see there: no exit handler may close the connection.
    if (job === 'swap') process.kill(process.pid, 'SIGKILL')
    process.exit(0)
  })
}
