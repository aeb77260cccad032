// A differential and a log of a database of which a part has changed, against a full and against other tools.
import { readdirSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import Database from 'better-sqlite3'
import { appRow } from './compete.ts'
import { has, median, quote, type Run, run, table, worker } from './measure.ts'

export interface ChangesRace {
  /** Database to begin with; is left as it is. */
  readonly base: string
  /** Where copies and backups go. */
  readonly folder: string
  readonly rounds: number
}

const SHARES = [0, 0.001, 0.01, 0.1]
const FULL = 'our full'
const MIB = 1024 * 1024

/** Prints a table for each share, and gives the rows about the app's process. */
export async function raceChanges(race: ChangesRace): Promise<(string | number)[][]> {
  const appRows: (string | number)[][] = []
  for (const share of SHARES) {
    const results = new Map<string, Run[]>()
    let pages = 0
    // Everything once in each round, so that a machine that gets slower gets slower for all.
    for (let round = 0; round < race.rounds; round++) pages = await runRound(race, share, results)
    console.log(`### ${share * 100} % of the pages changed: ${pages} pages\n\n${report(results)}\n`)
    for (const name of [FULL, 'our differential', 'our log, from the WAL', 'our log, by comparison'])
      appRows.push(appRow(`${name.slice(4)}, ${share * 100} %`, results.get(name)))
  }
  return appRows
}

async function runRound({ base, folder, rounds }: ChangesRace, share: number, results: Map<string, Run[]>) {
  const at = (name: string): string => join(folder, name)
  const backups = at('backups')
  const [live, replica, out] = [at('live.db'), at('replica.db'), at('out')]
  for (const name of ['backups', 'live.db', 'live.db-wal', 'live.db-shm', 'replica.db', 'out'])
    rmSync(at(name), { recursive: true, force: true })
  const measured = async (name: string, command: string): Promise<void> => {
    const done = await run(command, 600)
    results.set(name, [...(results.get(name) ?? []), done])
    if (done.failed) console.warn(`${name}: ${done.failed}`)
    for (const made of readdirSync(backups, { recursive: true, encoding: 'utf8' }))
      if (/-(log|differential)$/.test(made)) rmSync(join(backups, made), { recursive: true })
    rmSync(out, { force: true })
  }
  const stored = (command: string): string =>
    `${command} && sync ${quote(out)} && stat -c '{"storedBytes":%s}' ${quote(out)}`

  await run(`cp ${quote(base)} ${quote(live)} && sync ${quote(live)}`)
  // Open as an app has it: the write-ahead log stays, and nobody checkpoints it but us.
  const app = new Database(live)
  app.pragma('wal_autocheckpoint = 0')
  touchPages(app, 1)
  await measured(FULL, worker('backup', live, backups))
  const rsync = has('sqlite3_rsync')
  if (rsync) await run(`sqlite3_rsync ${quote(live)} ${quote(replica)}`)
  const walBefore = statSync(`${live}-wal`).size
  const pages = touchPages(app, Math.round(share * (app.pragma('page_count', { simple: true }) as number)))

  await measured('our log, from the WAL', worker('log:wal-frames', live, backups))
  const frames = `tail -c +${walBefore + 1} ${quote(`${live}-wal`)}`
  await measured('new bytes of the WAL, zstd -3', stored(`${frames} | zstd -q -3 > ${quote(out)}`))
  if (has('lz4'))
    await measured(
      'new bytes of the WAL, lz4 (Litestream 0.3 keeps that)',
      stored(`${frames} | lz4 -q > ${quote(out)}`),
    )

  app.pragma('wal_checkpoint(TRUNCATE)')
  // A log of nothing does not tell how it was found out.
  await measured('our log, by comparison', worker(share > 0 ? 'log:page-comparison' : 'log', live, backups))
  await measured('our differential', worker('differential', live, backups))
  if (rsync) {
    const sent = `sed -nE 's/^sent ([0-9,]+) bytes.*/\\1/p' | tr -d , | sed 's/.*/{"storedBytes":&}/'`
    await measured(
      'sqlite3_rsync',
      `sqlite3_rsync ${quote(live)} ${quote(replica)} -v | ${sent} && sync ${quote(replica)}`,
    )
  }
  await measured('cp (unsafe)', stored(`cp ${quote(live)} ${quote(out)}`))
  await measured('sqlite3 .backup', stored(`sqlite3 ${quote(live)} ${quote(`.backup '${out}'`)}`))
  app.close()
  if (rounds > 1) console.warn(`${basename(live)}, ${share * 100} %: a round is done`)
  return pages
}

/** Changes a row in each of about so many pages, all over the biggest table, a hundred in a transaction. */
function touchPages(database: Database.Database, pages: number): number {
  if (pages === 0) return 0
  const rows = database.prepare('SELECT max(id) FROM comments').pluck().get() as number
  const change = database.prepare('UPDATE comments SET author = author + 1 WHERE id = ?')
  const some = database.transaction((ids: number[]) => {
    for (const id of ids) change.run(id)
  })
  const ids = Array.from({ length: pages }, (_, i) => 1 + Math.floor((i * rows) / pages))
  for (let i = 0; i < ids.length; i += 100) some(ids.slice(i, i + 100))
  return pages
}

function report(results: Map<string, Run[]>): string {
  const fulls = results.get(FULL) as Run[]
  const rows = [...results].map(([name, runs]) => {
    if (runs.some((one) => one.failed)) return [name, 'failed', '', '', '', '', '', '']
    const said = (key: string, digits = 0, unit = 1): string => {
      const value = median(runs.map((one) => one.said[key] ?? Number.NaN)) / unit
      return Number.isNaN(value) ? '' : value.toFixed(digits)
    }
    return [
      name,
      median(runs.map(({ wallS }) => wallS)).toFixed(2),
      median(runs.map(({ wallS }, i) => wallS / (fulls[i] as Run).wallS)).toFixed(3),
      median(runs.map(({ cpuS }) => cpuS)).toFixed(2),
      said('wallMs'),
      said('appCpuMs'),
      said('childCpuMs'),
      said('storedBytes', 2, MIB),
    ]
  })
  return table(
    [
      'method',
      'wall, s',
      'of our full',
      'CPU, s',
      'the verb alone, ms',
      'CPU of the app, ms',
      'of the child, ms',
      'stored or sent, MiB',
    ],
    rows,
  )
}
