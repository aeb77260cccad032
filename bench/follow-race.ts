// What it costs to follow a database for a minute: the follower's processor time, and what the writers notice.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuOf, environment, has, here, median, run, table, worker } from './measure.ts'

export interface FollowRace {
  readonly base: string
  readonly folder: string
  readonly rounds: number
  /** How long processor time is counted. */
  readonly seconds: number
  /** The scene whose title begins so, or all. */
  readonly scene: string
}

/** Something that follows the log of `live.db`. */
interface Follower {
  /** Processor time until now: of the app's process, and of others that work for it. */
  cpu(): { appMs: number; childMs: number }
  /** Figures about the app's process, while it is written to. */
  more(): Promise<Record<string, number>>
  stop(): Promise<void>
}

const MIB = 1024 * 1024
const SCENES = [
  { title: 'Nobody writes', rate: undefined },
  { title: '100 transactions a second', rate: '100' },
  { title: 'One writer at full speed', rate: 'full' },
] as const

/** Prints a table for each scene. */
export async function raceFollowers(race: FollowRace): Promise<void> {
  const methods: Record<string, ((live: string, backups: string) => Promise<Follower>) | undefined> = {
    nobody: undefined,
    'taskflow-backup': followOurs,
    'taskflow-backup, merge: false': (live, backups) => followOurs(live, backups, 'unmerged'),
    ...(has('litestream') && { [`litestream ${await litestreamVersion()}`]: followWithLitestream }),
  }
  for (const { title, rate } of SCENES.filter(({ title }) => title.startsWith(race.scene))) {
    const results = new Map<string, Record<string, number>[]>()
    for (let round = 0; round < race.rounds; round++) {
      for (const [name, start] of Object.entries(methods)) {
        if (rate === undefined && !start) continue
        results.set(name, [...(results.get(name) ?? []), await watch(race, start, rate)])
      }
    }
    console.log(`### ${title}, followed for ${race.seconds} s\n\n${report(results)}\n`)
  }
}

async function watch(
  { base, folder, seconds }: FollowRace,
  start: ((live: string, backups: string) => Promise<Follower>) | undefined,
  rate: string | undefined,
): Promise<Record<string, number>> {
  const live = join(folder, 'live.db')
  const backups = join(folder, 'backups')
  for (const name of readdirSync(folder))
    if (/^(\.?live\.db|backups)/.test(name)) rmSync(join(folder, name), { recursive: true, force: true })
  await run(`cp '${base}' '${live}' && sync '${live}'`)
  const follower = await start?.(live, backups)
  const writer = rate === undefined ? undefined : startWriter(live, rate)
  await sleep(3000)
  let walBytes = 0
  const watching = setInterval(() => {
    walBytes = Math.max(walBytes, statSync(`${live}-wal`, { throwIfNoEntry: false })?.size ?? 0)
  }, 100)
  const before = follower?.cpu() ?? { appMs: 0, childMs: 0 }
  const startedMs = performance.now()
  const storedBefore = bytesBelow(backups)
  await sleep(seconds * 1000)
  const after = follower?.cpu() ?? before
  const passedS = (performance.now() - startedMs) / 1000
  const storedBytes = bytesBelow(backups) - storedBefore
  const more = (await follower?.more()) ?? {}
  clearInterval(watching)
  const written = (await writer?.end()) ?? {}
  await follower?.stop()
  const appMs = (after.appMs - before.appMs) / passedS
  const childMs = (after.childMs - before.childMs) / passedS
  return { ...(follower && { appMs, childMs, totalMs: appMs + childMs, storedBytes }), walBytes, ...more, ...written }
}

function startWriter(live: string, rate: string): { end(): Promise<Record<string, number>> } {
  const child = spawn(process.execPath, [here('writer.ts'), live, rate], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (text: Buffer) => (said += text))
  return {
    async end() {
      child.kill('SIGTERM')
      const [code] = await once(child, 'close')
      if (code !== 0) throw new Error(`The writer ended with ${code}.`)
      return JSON.parse(said) as Record<string, number>
    },
  }
}

async function followOurs(live: string, backups: string, ...more: string[]): Promise<Follower> {
  const full = await run(worker('backup', live, backups), 600)
  if (full.failed) throw new Error(full.failed)
  const child = fork(here('follower.ts'), [live, backups, ...more], { env: environment })
  const ended = once(child, 'exit')
  const ask = async (question: string, seconds?: number): Promise<unknown> => {
    const answer = once(child, 'message')
    child.send({ ask: question, seconds })
    return (
      await Promise.race([answer, ended.then(([code]) => Promise.reject(new Error(`It ended with ${code}.`)))])
    )[0]
  }
  await once(child, 'message')
  const pid = child.pid as number
  const children = (await ask('children')) as number[]
  return {
    cpu() {
      const { ownMs, endedChildrenMs } = cpuOf(pid)
      return { appMs: ownMs, childMs: endedChildrenMs + children.reduce((sum, one) => sum + cpuOf(one).ownMs, 0) }
    },
    async more() {
      const memory = (await ask('memory')) as Record<string, number>
      const stalls = (await ask('stalls', 10)) as Record<string, number>
      const { state, lagMs, restarts, gaps, warnings } = (await ask('health')) as {
        state: string
        lagMs: number
        restarts: number
        gaps: unknown[]
        warnings: string[]
      }
      for (const warning of warnings) console.warn(warning)
      if (state !== 'following') throw new Error(`It is ${state}.`)
      return { ...memory, ...stalls, lagMs, restarts, gaps: gaps.length }
    },
    async stop() {
      await ask('stop')
      await ended
    },
  }
}

async function litestreamVersion(): Promise<string> {
  return (await outputOf(spawn('litestream', ['version'], { stdio: ['ignore', 'pipe', 'inherit'] }))).trim()
}

/** Litestream with its own defaults: it looks each second, and keeps what it stores in a folder. */
async function followWithLitestream(live: string, backups: string): Promise<Follower> {
  const child = spawn('litestream', ['replicate', live, `file://${backups}`], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  const pid = child.pid as number
  // Its first snapshot is not what is measured.
  for (let quiet = 0; quiet < 3; ) {
    const { ownMs } = cpuOf(pid)
    await sleep(1000)
    if (child.exitCode !== null) throw new Error(`litestream ended with ${child.exitCode}.`)
    quiet = bytesBelow(backups) > 0 && cpuOf(pid).ownMs - ownMs < 100 ? quiet + 1 : 0
  }
  return {
    cpu: () => ({ appMs: 0, childMs: cpuOf(pid).ownMs }),
    more: async () => ({}),
    async stop() {
      child.kill('SIGINT')
      await ended
    },
  }
}

async function outputOf(child: ChildProcess): Promise<string> {
  let out = ''
  child.stdout?.on('data', (text: Buffer) => (out += text))
  await once(child, 'close')
  return out
}

function bytesBelow(folder: string): number {
  let bytes = 0
  try {
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }))
      bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0
  } catch {
    // Not there yet, or a folder of it has just gone.
  }
  return bytes
}

function report(results: Map<string, Record<string, number>[]>): string {
  const rows = [...results].map(([name, runs]) => {
    const middle = (key: string, digits = 1, unit = 1): string => {
      const value = median(runs.map((one) => one[key] ?? Number.NaN)) / unit
      return Number.isNaN(value) ? '' : value.toFixed(digits)
    }
    return [
      name,
      ...['appMs', 'childMs'].map((key) => middle(key)),
      middle('totalMs', 2, 10),
      middle('storedBytes', 2, MIB),
      middle('walBytes', 1, MIB),
      middle('perSecond', 0),
      ...['p99Ms', 'maxMs'].map((key) => middle(key)),
      ...['stallP99Ms', 'stallMaxMs'].map((key) => middle(key)),
      ...['appGrowthMiB', 'childPeakMiB', 'lagMs', 'gaps', 'restarts'].map((key) => middle(key, 0)),
    ]
  })
  return table(
    [
      'followed by',
      'CPU of the app, ms/s',
      'of the child, ms/s',
      'together, % of a core',
      'stored, MiB',
      'largest WAL, MiB',
      'transactions/s',
      'p99, ms',
      'longest, ms',
      'app: stall p99, ms',
      'longest, ms',
      'growth, MiB',
      'peak of the child, MiB',
      'lag, ms',
      'gaps',
      'restarts',
    ],
    rows,
  )
}
