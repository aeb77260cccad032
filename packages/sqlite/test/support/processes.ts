import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AgentTools } from './agent.ts'
import type { WriterOrders, WriterReport } from './writer.ts'

// Compiled sources are kept from one process to the next, the library's own children included: these tests start
// hundreds of them, and stripping types is most of what each of them does.
process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'taskflow-backup-test-compile-cache')

export interface ScriptOptions {
  /** User to run as; only root may choose. */
  readonly uid?: number
  readonly env?: NodeJS.ProcessEnv
  /** Makes the process the leader of a group of its own, which can be killed as a whole. */
  readonly detached?: boolean
  readonly argv?: readonly string[]
}

/** Starts one of the scripts beside this file in a process of its own, with IPC. */
export function startScript(name: string, { uid, env, detached = false, argv = [] }: ScriptOptions = {}): ChildProcess {
  const file = fileURLToPath(new URL(name, import.meta.url))
  return spawn(process.execPath, [file, ...argv], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: { ...process.env, ...(uid !== undefined && { NODE_COMPILE_CACHE: undefined }), ...env },
    detached,
    ...(uid !== undefined && { uid, gid: uid }),
  })
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

export async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await ended(child)
}

export interface Agent {
  readonly pid: number
  /** Runs `action` in the agent. It is sent as text: it may use its two arguments and globals, nothing else. */
  run<O, I = undefined>(action: (tools: AgentTools, input: I) => O | Promise<O>, input?: I): Promise<O>
  kill(): Promise<void>
}

export async function startAgent(options: ScriptOptions): Promise<{ agent: Agent; child: ChildProcess }> {
  const child = startScript('agent.ts', options)
  child.setMaxListeners(0) // each call waits for its end as well
  await Promise.race([once(child, 'message'), failOnExit(child)])
  let calls = 0
  const agent: Agent = {
    pid: child.pid as number,
    async run<O, I>(action: (tools: AgentTools, input: I) => O | Promise<O>, input?: I): Promise<O> {
      const id = ++calls
      child.send({ id, source: action.toString(), input })
      return await Promise.race([answerTo<O>(child, id), failOnExit(child)])
    },
    kill: () => kill(child),
  }
  return { agent, child }
}

function answerTo<O>(child: ChildProcess, id: number): Promise<O> {
  return new Promise((resolve, reject) => {
    const hear = (message: { id: number; output: O; error?: { code?: string; message: string } }): void => {
      if (message.id !== id) return
      child.off('message', hear)
      if (message.error) reject(Object.assign(new Error(message.error.message), { code: message.error.code }))
      else resolve(message.output)
    }
    child.on('message', hear)
  })
}

async function failOnExit(child: ChildProcess): Promise<never> {
  const [code, signal] = child.exitCode === null && child.signalCode === null ? await once(child, 'exit') : []
  throw new Error(`The process ended: ${signal ?? code ?? child.signalCode ?? child.exitCode}`)
}

export interface RunningWriter {
  stop(): Promise<WriterReport>
}

/** Starts a writer and waits until it has written to every file once. */
export async function startWriter(orders: WriterOrders): Promise<{ writer: RunningWriter; child: ChildProcess }> {
  const child = startScript('writer.ts')
  child.send(orders)
  await Promise.race([once(child, 'message'), failOnExit(child)])
  const stop = async (): Promise<WriterReport> => {
    const answered = once(child, 'message') as Promise<[{ report: WriterReport }]>
    child.send('stop')
    const [{ report }] = await answered
    await ended(child)
    return report
  }
  return { writer: { stop }, child }
}

/** Processes of a group, without those that have ended and only wait for somebody to take notice. Linux only. */
export function membersOf(group: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
        const [state, , groupOfIt] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        return Number(groupOfIt) === group && state !== 'Z'
      } catch {
        return false // no process, or one that ended meanwhile
      }
    })
}
