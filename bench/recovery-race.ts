// Recoveries through many log backups, against that of their full alone.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { appRow, compete, type Method } from './compete.ts'
import { makeLogs } from './made-up-logs.ts'
import { median, type Run, run, table, worker } from './measure.ts'

export interface RecoveryRace {
  readonly base: string
  readonly folder: string
  readonly rounds: number
  /** How many logs of one second each; 0: none of that. */
  readonly logs: number
  /** How many seconds in logs of a minute each; 0: none of that. */
  readonly seconds: number
}

const ALONE = 'the full alone'
const MIB = 1024 * 1024

/** Prints a table for each history, and gives the rows about the app's process. */
export async function raceRecoveries(race: RecoveryRace): Promise<(string | number)[][]> {
  return [...(await raceThrough(race, race.logs, 1)), ...(await raceThrough(race, race.seconds, 60))]
}

async function raceThrough({ base, folder, rounds }: RecoveryRace, transactions: number, perLog: number) {
  if (transactions === 0) return []
  const at = (name: string): string => join(folder, name)
  const [live, backups, out] = [at('live.db'), at('backups'), at('out.db')]
  for (const name of ['live.db', 'live.db-wal', 'live.db-shm', 'backups'])
    rmSync(at(name), { recursive: true, force: true })
  await run(`cp '${base}' '${live}'`, 600)
  const { fullId, startedAtMs, ticks, logs, bytes } = await makeLogs({ live, folder, transactions, perLog })
  const half = Math.floor(transactions / 2)
  const restore = (name: string, target: object, expected: number): Method => ({
    name,
    command: worker(`restore:${out}`, live, backups, 'zstd', JSON.stringify(target)),
    prepare: () => rmSync(out, { force: true }),
    after: () => expectTicks(out, expected),
  })
  const halfwayAt = new Date(startedAtMs + half * 1000).toISOString()
  const before = ticks - transactions
  const results = await compete(
    [
      restore(ALONE, { id: fullId }, before - 1),
      restore('through all of them', {}, ticks),
      restore('through half of them', { at: halfwayAt }, before + half),
      { name: 'planning alone', command: worker('plan', live, backups) },
    ],
    rounds,
    600,
  )
  if (perLog === 1) {
    const merging = { name: 'merging them, sixty into one', command: worker('merge', live, backups) }
    const merged = [merging, restore('through all of them, merged', {}, ticks)]
    for (const [name, runs] of await compete(merged, 1, 1200)) results.set(name, runs)
  }
  for (const { failed } of [...results.values()].flat()) if (failed) console.warn(failed)
  const title = `${logs} logs of ${perLog === 1 ? 'a second' : `${perLog} seconds`}, ${transactions} commits, ${(bytes / MIB).toFixed(0)} MiB`
  console.log(`### ${title}\n\n${report(results)}\n`)
  return [...results].map(([name, runs]) => appRow(`restore, ${logs} logs: ${name}`, runs))
}

/** That it was restored to where it was meant to. */
function expectTicks(file: string, expected: number): Record<string, number> {
  const database = new Database(file, { readonly: true })
  const ticks = database.prepare('SELECT count(*) FROM ticks').pluck().get() as number
  database.close()
  if (ticks !== expected) throw new Error(`${ticks} commits are in the restored database, not ${expected}.`)
  return { ticks }
}

function report(results: Map<string, Run[]>): string {
  const fulls = results.get(ALONE) as Run[]
  const rows = [...results].map(([name, runs]) => {
    if (runs.some((one) => one.failed)) return [name, 'failed', '', '', '', '']
    const middle = (key: string): string => median(runs.map(({ said }) => said[key] ?? Number.NaN)).toFixed(0)
    const beyond = !name.startsWith('through')
      ? ''
      : median(runs.map(({ wallS }, i) => wallS - (fulls[i] as Run).wallS)).toFixed(2)
    const wall = median(runs.map(({ wallS }) => wallS)).toFixed(2)
    return [
      name,
      wall,
      beyond,
      median(runs.map(({ cpuS }) => cpuS)).toFixed(2),
      middle('appCpuMs'),
      middle('childCpuMs'),
    ]
  })
  return table(
    ['recovery', 'wall, s', 'beyond the full alone, s', 'CPU, s', 'CPU of the app, ms', 'of the child, ms'],
    rows,
  )
}
