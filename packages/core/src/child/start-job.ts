import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { constants, setPriority } from 'node:os'
import type { Duplex } from 'node:stream'
import type { AdapterContext } from '../contracts/adapter.ts'
import { BackupError, type ErrorCode, throwIfAborted } from '../errors.ts'
import type { Answer, AskMessage, JobMessage, JobTable, SentError } from './messages.ts'

/** What a child says on its error output is kept up to this length, for the cause of an error. */
const STDERR_CHARACTERS = 4_000
/** How long a child may take to go after it gave its result. */
const EXIT_MS = 5_000

/** A job that runs in a child process. */
export interface RunningJob<Result> {
  /**
   * The bytes that the job gives or takes, for those that do. What it gives ends whether or not the job succeeded: await
   * `result`.
   */
  readonly channel: Duplex
  readonly result: Promise<Result>
  /**
   * Asks the running job something, for those that answer (`JobTools.onAsk`). Rejects with what the job throws for it,
   * and when the job ends before it answered.
   */
  ask(request: unknown): Promise<unknown>
  /** Ends the child at once. */
  kill(): void
}

export interface JobSettings {
  /**
   * Whether the child runs at a lower priority than the app. Not for a job that has to keep up with the app: the longer
   * it is kept waiting, the more it has to do. Default: true.
   */
  readonly background?: boolean
}

/**
 * Runs one job of an adapter's child program, so that heavy or synchronous work stays out of the app's process. It is
 * killed when `ctx.signal` is aborted. `program` is a file that calls `serveJobs`.
 *
 * The input goes over IPC: arguments of a process can be read by everybody on the machine.
 *
 * @throws `CHILD_FAILED`, `ABORTED` and what the job throws, all as rejection of `result`
 */
export function startJob<Jobs extends JobTable, Name extends keyof Jobs & string>(
  program: string,
  name: Name,
  input: Jobs[Name]['input'],
  ctx: AdapterContext,
  { background = true }: JobSettings = {},
): RunningJob<Jobs[Name]['result']> {
  const child = ctx.spawn(process.execPath, [program], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'ipc'],
    env: childEnvironment(),
    windowsHide: true,
  })
  if (background) stepBack(child)
  const kill = (): void => void child.kill('SIGKILL')
  ctx.signal.addEventListener('abort', kill, { once: true })
  if (ctx.signal.aborted) kill()
  const result = collect(child, name, ctx).finally(() => ctx.signal.removeEventListener('abort', kill))
  result.catch(() => {}) // thrown where it is awaited
  child.send({ job: name, input } satisfies JobMessage, () => {}) // a child that is gone already tells so by its exit
  const channel = child.stdio[3] as Duplex
  // A child that ends before it has read everything resets it, also after whoever wrote has gone; `result` says why.
  channel.on('error', () => {})
  return { channel, result: result as Promise<Jobs[Name]['result']>, ask: asker(child, name, result), kill }
}

function asker(child: ChildProcess, name: string, result: Promise<unknown>): RunningJob<unknown>['ask'] {
  type Waiting = { readonly resolve: (reply: unknown) => void; readonly reject: (error: unknown) => void }
  const waiting = new Map<number, Waiting>()
  let asked = 0
  let ended: { readonly error: unknown } | undefined
  child.on('message', (answer: Answer) => {
    if (answer.type !== 'reply') return
    if (answer.error) waiting.get(answer.ask)?.reject(fromSent(answer.error))
    else waiting.get(answer.ask)?.resolve(answer.reply)
    waiting.delete(answer.ask)
  })
  const end = (error: unknown): void => {
    ended = { error }
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  result.then(() => end(new BackupError('CHILD_FAILED', `The job ${name} ended before it answered.`)), end)
  return (request) =>
    new Promise((resolve, reject) => {
      if (ended) return reject(ended.error)
      waiting.set(++asked, { resolve, reject })
      // A child that is gone already tells so by its exit.
      if (child.connected) child.send({ ask: asked, request } satisfies AskMessage, () => {})
    })
}

function fromSent({ code, message, hint, retryable = false }: SentError): BackupError {
  return new BackupError(code as ErrorCode, message, { retryable, ...(hint && { hint }) })
}

/**
 * The app comes first where processors are short. Set from here at once, because on Linux a priority is a thread's, and
 * the threads that the child starts later inherit it.
 */
function stepBack(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL)
  } catch {
    // Not allowed here, or gone already: the work is the same.
  }
}

function childEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _debuggersAndHooksOfTheApp, ...environment } = process.env
  // Compressing runs in libuv's pool; the app's own setting of its size must not slow it down.
  return { ...environment, ELECTRON_RUN_AS_NODE: '1', UV_THREADPOOL_SIZE: '4' }
}

async function collect(child: ChildProcess, name: string, ctx: AdapterContext): Promise<unknown> {
  let answer: Answer | undefined
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS)
  })
  child.on('message', (message: Answer) => {
    if (message.type === 'progress') ctx.onProgress(message)
    else if (message.type === 'warning') ctx.onWarning(message.message)
    else if (message.type !== 'reply') {
      answer = message
      // It has nothing left to do: an exit that hangs would hold the app's event loop open.
      setTimeout(() => child.kill('SIGKILL'), EXIT_MS).unref()
    }
  })
  // `once` rejects with what a child that could not be started emits as its error.
  const ended = await (once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>).catch(
    (error: Error) => error,
  )
  if (child.connected) await once(child, 'disconnect') // the answer may still be on its way
  if (answer?.type === 'result') return answer.result // how it ended afterwards changes nothing: its work is done
  throwIfAborted(ctx.signal)
  if (ended instanceof Error)
    throw new BackupError('CHILD_FAILED', `The job ${name} could not be started: ${ended.message}`, { cause: ended })
  if (answer?.type === 'error') throw fromSent(answer.error)
  const [code, signal] = ended
  const how = signal ? `was ended by ${signal}` : `ended with code ${code}`
  throw new BackupError('CHILD_FAILED', `The job ${name} ${how}. ${lastLines(stderr)}`.trim(), {
    retryable: signal !== null,
  })
}

/** What a child said last; of an error that it did not catch, the message rather than the end of its stack. */
function lastLines(text: string): string {
  const lines = text.trim().split('\n')
  const uncaught = lines.findLastIndex((line) => /^(Uncaught )?\w*Error\b/.test(line))
  return (uncaught < 0 ? lines.slice(-5) : lines.slice(uncaught, uncaught + 3)).join('\n')
}
