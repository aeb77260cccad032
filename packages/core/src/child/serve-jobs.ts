import { Socket } from 'node:net'
import { BackupError, toBackupError } from '../errors.ts'
import { type Answer, type AskMessage, CHANNEL_FD, type JobMessage, type JobTable, type SentError } from './messages.ts'

/** Progress is told at most this often. */
const PROGRESS_MS = 100

/** What a job has besides its input. */
export interface JobTools {
  /** The bytes that the parent sends. */
  input(): Socket
  /** Where the job's bytes go. */
  output(): Socket
  readonly onProgress: (bytes: number, totalBytes?: number) => void
  readonly onWarning: (message: string) => void
  /** Answers what the parent asks while the job runs. What it asked before waits until this is called. */
  readonly onAsk: (handler: (request: unknown) => unknown) => void
}

/** One function for each job. */
export type JobHandlers<Jobs extends JobTable> = {
  readonly [Name in keyof Jobs]: (
    input: Jobs[Name]['input'],
    tools: JobTools,
  ) => Promise<Jobs[Name]['result']> | Jobs[Name]['result']
}

/**
 * The main function of a child program: does the one job that the parent asks for, answers, and ends.
 *
 * It ends without exit handlers after a job named in `endAbruptly`.
 */
export function serveJobs<Jobs extends JobTable>(
  handlers: JobHandlers<Jobs>,
  { endAbruptly = [] }: { readonly endAbruptly?: readonly (keyof Jobs)[] } = {},
): void {
  process.once('message', ({ job, input }: JobMessage) => {
    const finish = (answer: Answer): void =>
      send(answer, () => {
        if (endAbruptly.includes(job)) process.kill(process.pid, 'SIGKILL')
        process.exit(0)
      })
    run(handlers, job, input).then(
      (result) => finish({ type: 'result', result }),
      (thrown: unknown) => finish({ type: 'error', error: toSent(thrown, job) }),
    )
  })
  // The app is gone: whoever would read the result is gone with it. No exit handler may run.
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'))
}

async function run<Jobs extends JobTable>(handlers: JobHandlers<Jobs>, job: string, input: unknown): Promise<unknown> {
  const handler = Object.hasOwn(handlers, job) ? handlers[job] : undefined
  if (!handler)
    throw new BackupError('INTERNAL', `The child process was asked for the job ${job}, which it does not know.`)
  return handler(input, {
    input: () => new Socket({ fd: CHANNEL_FD, readable: true, writable: false }),
    output: () => new Socket({ fd: CHANNEL_FD, readable: false, writable: true }),
    onProgress: throttled(),
    onWarning: (message) => send({ type: 'warning', message }),
    onAsk: answerAsks(job),
  })
}

function toSent(thrown: unknown, job: string): SentError {
  const { code, message, hint, retryable } = toBackupError(thrown, 'CHILD_FAILED', `The job ${job} failed`)
  return { code, message, hint, retryable }
}

/** What the parent asks is kept from now on, and answered once the result has been called. */
function answerAsks(job: string): JobTools['onAsk'] {
  let listen: JobTools['onAsk'] = () => {}
  const listening = new Promise<(request: unknown) => unknown>((resolve) => (listen = resolve))
  process.on('message', async ({ ask, request }: AskMessage) => {
    const handler = await listening
    try {
      send({ type: 'reply', ask, reply: await handler(request) })
    } catch (error) {
      send({ type: 'reply', ask, error: toSent(error, job) })
    }
  })
  return listen
}

function throttled(): JobTools['onProgress'] {
  let toldAtMs = 0
  return (bytes, totalBytes) => {
    const nowMs = performance.now()
    if (nowMs - toldAtMs < PROGRESS_MS && bytes !== totalBytes) return
    toldAtMs = nowMs
    send({ type: 'progress', bytes, ...(totalBytes !== undefined && { totalBytes }) })
  }
}

function send(answer: Answer, sent: () => void = () => {}): void {
  process.send?.(answer, sent)
}
