import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
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

/** Runs a shell command and measures it. */
export async function run(command: string, limitS = 180): Promise<Run> {
  // bash's own `time` counts every process that was waited for, grandchildren too.
  const timed = `TIMEFORMAT='%R %U %S'; time { ${command}; }`
  const child = spawn('bash', ['-c', `set -o pipefail; ${timed}`], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_COMPILE_CACHE: here('../node_modules/.cache/bench') },
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
  return { wallS, cpuS: user + system, said, ...(code !== 0 && { failed: `exit code ${code}: ${err.slice(-300)}` }) }
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
