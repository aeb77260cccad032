import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { constants, setPriority } from 'node:os'
import { dirname, extname, join } from 'node:path'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type AdapterContext, BackupError, type ErrorCode, toBackupError } from '@taskflow-backup/core'
import type { Answer, JobMessage, JobName, Jobs } from './jobs.ts'

/** What a child says on its error output is kept up to this length, for the cause of an error. */
const STDERR_CHARACTERS = 4_000
/** How long a child may take to go after it gave its result. */
const EXIT_MS = 5_000

/** A running job. */
export interface RunningJob<N extends JobName> {
  /**
   * The bytes that the job sends or takes, for those that do. What it sends ends whether or not the job succeeded: await
   * `result`.
   */
  readonly channel: Duplex
  readonly result: Promise<Jobs[N]['result']>
  /** Ends the child at once. */
  kill(): void
}

/**
 * Runs one job in a child process of its own, which is killed when `ctx.signal` is aborted.
 *
 * The input goes over IPC: arguments of a process can be read by everybody on the machine.
 */
export function startJob<N extends JobName>(name: N, input: Jobs[N]['input'], ctx: AdapterContext): RunningJob<N> {
  const child = ctx.spawn(process.execPath, [childFile()], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'ipc'],
    env: childEnvironment(),
    windowsHide: true,
  })
  stepBack(child)
  const kill = (): void => void child.kill('SIGKILL')
  ctx.signal.addEventListener('abort', kill, { once: true })
  if (ctx.signal.aborted) kill()
  const result = collect(child, name, ctx).finally(() => ctx.signal.removeEventListener('abort', kill))
  result.catch(() => {}) // thrown where it is awaited
  child.send({ job: name, input } as JobMessage, () => {}) // a child that is gone already tells so by its exit
  return { channel: child.stdio[3] as Duplex, result, kill }
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

/** Runs a job that neither sends nor takes bytes. */
export async function runJob<N extends JobName>(
  name: N,
  input: Jobs[N]['input'],
  ctx: AdapterContext,
): Promise<Jobs[N]['result']> {
  return startJob(name, input, ctx).result
}

/** Beside this file: TypeScript from the sources, JavaScript from the built package. */
function childFile(): string {
  const here = fileURLToPath(import.meta.url)
  return join(dirname(here), 'child', `main${extname(here)}`)
}

function childEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _debuggersAndHooksOfTheApp, ...environment } = process.env
  // Compressing runs in libuv's pool; the app's own setting of its size must not slow it down.
  return { ...environment, ELECTRON_RUN_AS_NODE: '1', UV_THREADPOOL_SIZE: '4' }
}

async function collect<N extends JobName>(
  child: ChildProcess,
  name: N,
  ctx: AdapterContext,
): Promise<Jobs[N]['result']> {
  let answer: Answer | undefined
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_CHARACTERS)
  })
  child.on('message', (message: Answer) => {
    if (message.type === 'progress') ctx.onProgress(message)
    else if (message.type === 'warning') ctx.onWarning(message.message)
    else {
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
  if (answer?.type !== 'result') refuseAborted(ctx)
  if (ended instanceof Error)
    throw new BackupError('CHILD_FAILED', `The job ${name} could not be started: ${ended.message}`, { cause: ended })
  if (answer?.type === 'error') {
    const { code, message, hint, retryable = false } = answer.error
    throw new BackupError(code as ErrorCode, message, { retryable, ...(hint && { hint }) })
  }
  const [code, signal] = ended
  // A swap ends itself by a signal, on purpose; whoever gave a result has done its work.
  if (answer?.type === 'result' && (code === 0 || name === 'swap')) return answer.result as Jobs[N]['result']
  const how = signal ? `was ended by ${signal}` : `ended with code ${code}`
  throw new BackupError('CHILD_FAILED', `The job ${name} ${how}. ${lastLines(stderr)}`.trim(), {
    retryable: signal !== null,
  })
}

/** Throws `ABORTED` when the work is not wanted any more. */
export function refuseAborted({ signal }: Pick<AdapterContext, 'signal'>): void {
  if (signal.aborted) throw toBackupError(signal.reason, 'ABORTED', 'The work was aborted')
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-5).join('\n')
}
