// Plays the app: writes to its database at full speed, and follows its log. Run by `FollowingApp.start`.
import './clock-hook.ts'
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import {
  type BackupEvent,
  type BackupKind,
  createBackup,
  type FollowHealth,
  followLog,
  type LogFollowing,
  mergeLogs,
  type Runtime,
} from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { randomFrom } from '../ledger.ts'
import { HistoryWriter } from './history.ts'
import { BURST, Pace } from './pace.ts'
import { type HistoryPlaces, historyPlan } from './plan.ts'

export interface AppOrders extends HistoryPlaces {
  readonly seed: number
  readonly everyMs: number
  /** Default: true. */
  readonly writes?: boolean
  /** Rests up to so long after each burst at full speed, in milliseconds. */
  readonly restMs: number
}

export interface AppReport {
  readonly busy: number
  readonly committed: number
  readonly health: FollowHealth
  /** What was told while it ran. */
  readonly warnings: readonly string[]
  readonly logged: number
}

/** What SQLite says about a checkpoint. */
export interface Checkpoint {
  readonly busy: number
  readonly log: number
  readonly checkpointed: number
}

/** What a test can ask of the app, with its answer. */
export interface AppActions {
  start: (orders: AppOrders) => Promise<null>
  /** Process ids of the children that run `job` now. */
  children: (job: string) => readonly number[]
  backup: (kind: BackupKind) => Promise<{ readonly id: string; readonly kind: BackupKind }>
  merge: (most: number) => Promise<null>
  health: () => Promise<FollowHealth>
  flush: () => Promise<null>
  checkpoint: (mode: string) => Checkpoint
  /** Begins a transaction that writes, and one that reads, and leaves both open. */
  holdLocks: () => null
  releaseLocks: () => null
  /** Does not rest for so many bursts. */
  hurry: (bursts: number) => null
  pauseWriting: () => Promise<null>
  stop: () => Promise<AppReport>
}

let history: HistoryWriter
let reader: Database.Database | undefined
let following: LogFollowing
let plan: ReturnType<typeof historyPlan>
let writing = Promise.resolve()
let pace: Pace
let stopping = false
let logged = 0
const warnings: string[] = []
const children = new Map<number, string>()

const CLOCK_HOOK = fileURLToPath(new URL('clock-hook.ts', import.meta.url))

/** Remembers which child does which job, and gives each the same clock. */
const watchingSpawn = ((command: string, args: readonly string[], options: SpawnOptions): ChildProcess => {
  const env = { ...options.env, CLOCK_FILE: process.env.CLOCK_FILE }
  const child = spawn(command, ['--import', CLOCK_HOOK, ...args], { ...options, env })
  const send = child.send.bind(child) as (message: object, sent: (error: Error | null) => void) => boolean
  child.send = ((message: { job?: string }, sent: (error: Error | null) => void) => {
    if (message.job !== undefined && child.pid !== undefined) children.set(child.pid, message.job)
    return send(message, sent)
  }) as ChildProcess['send']
  child.once('exit', () => children.delete(child.pid as number))
  return child
}) as Runtime['spawn']

const note = (event: BackupEvent): void => {
  if (event.type === 'logged') logged++
  else if (event.type === 'warning' || event.type === 'failed') warnings.push(event.message)
}

async function write(): Promise<void> {
  while (!stopping) {
    for (let i = 0; i < BURST; i++) history.add()
    await pace.rest()
  }
}

const actions: AppActions = {
  async start({ seed, everyMs, restMs, writes = true, ...places }) {
    const random = randomFrom(seed)
    plan = historyPlan(places, { spawn: watchingSpawn })
    history = new HistoryWriter(places.file, 0, random)
    pace = new Pace(restMs, random)
    if (writes) writing = write()
    following = await followLog(plan, { everyMs, onEvent: note })
    return null
  },
  children: (job) => [...children].filter(([, other]) => other === job).map(([pid]) => pid),
  async backup(kind) {
    const made = await createBackup(plan, { kind, onEvent: note })
    return { id: made.id, kind: made.kind }
  },
  async merge(most) {
    await mergeLogs(plan, { most, onEvent: note })
    return null
  },
  health: () => following.health(),
  async flush() {
    await following.flush()
    return null
  },
  checkpoint: (mode) => (history.database.pragma(`wal_checkpoint(${mode})`) as [Checkpoint])[0],
  holdLocks() {
    reader = new Database(history.database.name, { readonly: true })
    reader.exec('BEGIN')
    reader.prepare('SELECT count(*) FROM entry').get()
    history.begin(3)
    return null
  },
  releaseLocks() {
    history.database.exec('COMMIT')
    reader?.close()
    return null
  },
  hurry(bursts) {
    pace.hurry(bursts)
    return null
  },
  async pauseWriting() {
    stopping = true
    await writing
    return null
  },
  async stop() {
    await actions.pauseWriting()
    await following.stop()
    await following.done
    history.database.close()
    return { busy: history.busy, committed: history.committed, health: await following.health(), warnings, logged }
  },
}

process.once('disconnect', () => process.exit())
process.on('message', async ({ id, action, input }: { id: number; action: keyof AppActions; input: never }) => {
  try {
    const output = await (actions[action] as (input: never) => unknown)(input)
    // After `stop` nothing may hold this process open but the channel to the test.
    process.send?.({ id, output }, () => action === 'stop' && process.disconnect())
  } catch (error) {
    const { code, message, stack } = error as { code?: string; message: string; stack?: string }
    process.send?.({ id, error: { code, message: `${action}: ${message}\n${stack}` } })
  }
})
