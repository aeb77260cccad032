import { median, type Run, run, table } from './measure.ts'

/** One way to do the work. The first of several is ours. */
export interface Method {
  readonly name: string
  readonly command: string
  /** Run before each round, not measured. */
  readonly prepare?: () => void
  /** Figures that are looked at after each round. */
  readonly after?: () => Record<string, number>
}

/** Runs all methods in turn, `rounds` times. */
export async function compete(methods: readonly Method[], rounds: number, limitS: number): Promise<Map<string, Run[]>> {
  const results = new Map<string, Run[]>(methods.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const { name, command, prepare, after } of methods) {
      const before = results.get(name) as Run[]
      // What did not finish once is not waited for again.
      if (before.some((other) => other.failed)) continue
      prepare?.()
      const done = await run(command, limitS)
      before.push(after && !done.failed ? { ...done, said: { ...done.said, ...after() } } : done)
    }
  }
  return results
}

/** Medians of the rounds, in Markdown; ratios are taken round by round. */
export function report(results: Map<string, Run[]>): string {
  const [ours = []] = results.values()
  const rows = [...results].map(([name, runs]) => {
    const failed = runs.find((one) => one.failed)?.failed
    if (failed) return [name, failed.split('\n', 1)[0] ?? '', '', '']
    const wall = median(runs.map(({ wallS }) => wallS))
    const cpu = median(runs.map(({ cpuS }) => cpuS))
    const ratio = median(runs.map(({ wallS }, i) => (ours[i] as Run).wallS / wallS))
    return [name, wall.toFixed(2), cpu.toFixed(2), runs === ours ? '1' : ratio.toFixed(2)]
  })
  return table(['method', 'wall, s', 'CPU, s', 'ours / this'], rows)
}

/** What is told of the app's process, by the names in what the worker says. */
const APP = {
  stallP99Ms: 'stall p99, ms',
  stallMaxMs: 'longest stall, ms',
  workP99Ms: 'p99 without waits for a processor, ms',
  workMaxMs: 'longest without, ms',
  appGrowthMiB: 'growth of memory, MiB',
  childPeakMiB: 'peak of the child, MiB',
}

/** What our runs did to the app's process; `-` for what this system does not tell. */
export function appRow(title: string, runs: readonly Run[] = []): (string | number)[] {
  const middle = (key: string): string | number => {
    const values = runs.map(({ said }) => said[key]).filter((value) => value !== undefined)
    return values.length > 0 ? median(values) : '-'
  }
  return [title, ...Object.keys(APP).map(middle)]
}

export const appTable = (rows: readonly (readonly (string | number)[])[]): string =>
  `### The app's process\n\n${table(['verb', ...Object.values(APP)], rows)}`
