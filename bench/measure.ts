import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** One run of a command: wall and CPU seconds of it and all that it waited for, and the line of JSON it printed. */
export interface Run {
  readonly wallS: number
  readonly cpuS: number
  readonly said: Record<string, number>
  /** Set when it did not end in time or failed. */
  readonly failed?: string
}

export const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** True when a program is on the path. */
export const has = (program: string): boolean => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0

/** Words quoted for a shell. */
export const quote = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`

/** The worker with one verb, as a shell command. */
export const worker = (...args: string[]): string =>
  [process.execPath, '--expose-gc', here('worker.ts'), ...args].map(quote).join(' ')

/** For processes of ours: what they cost to compile is no part of what is measured. */
export const environment = { ...process.env, NODE_COMPILE_CACHE: here('../node_modules/.cache/bench') }

/** Runs a shell command and measures it. */
export async function run(command: string, limitS = 180): Promise<Run> {
  // bash's own `time` counts every process that was waited for, grandchildren too.
  const timed = `TIMEFORMAT='%R %U %S'; time { ${command}; }`
  const child = spawn('bash', ['-c', `set -o pipefail; ${timed}`], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: environment,
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (text: Buffer) => (out += text))
  child.stderr.on('data', (text: Buffer) => (err += text))
  const timer = setTimeout(() => process.kill(-(child.pid as number), 'SIGKILL'), limitS * 1000)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  clearTimeout(timer)
  if (signal) return { wallS: limitS, cpuS: 0, said: {}, failed: `not done after ${limitS} s` }
  const [wallS = 0, user = 0, system = 0] = (err.trim().split('\n').at(-1) as string).split(' ').map(Number)
  const line = out
    .trim()
    .split('\n')
    .findLast((text) => text.startsWith('{'))
  const said = line ? (JSON.parse(line) as Record<string, number>) : {}
  return { wallS, cpuS: user + system, said, ...(code !== 0 && { failed: `exit code ${code}: ${err.slice(-1500)}` }) }
}

/** Linux counts the processor time of processes in ticks of this length. */
const TICK_MS = 10

/**
 * Processor time that a process has used until now, in milliseconds: its own, and that of children of its that have
 * ended. Zeros when it has gone.
 */
export function cpuOf(pid: number): { ownMs: number; endedChildrenMs: number } {
  try {
    // The second field is a name in brackets, in which there may be anything.
    const fields = (readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1) as string).split(' ').map(Number)
    const [own = 0, system = 0, children = 0, childrenSystem = 0] = fields.slice(11)
    return { ownMs: (own + system) * TICK_MS, endedChildrenMs: (children + childrenSystem) * TICK_MS }
  } catch {
    return { ownMs: 0, endedChildrenMs: 0 }
  }
}

/** Peak resident memory of a process, in bytes; 0 once it has gone. */
export function peakMemoryOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(/VmHWM:\s+(\d+) kB/.exec(text)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

/** The middle of an odd number of values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** A table in Markdown. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
