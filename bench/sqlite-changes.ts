// Measures differential and log backups of SQLite, following, and recovery through many logs.
//   pnpm --filter ./bench sqlite-changes [--mib 1024] [--rounds 3] [--only changes|follow|restore] [--folder DIR]
//     [--seconds 60] [--scene Nobody|100|One] [--logs 10000] [--steps 86400]
// Peers run where they are on the path: sqlite3_rsync (from 3.47; `pip install apsw` brings one), litestream (`npm
// install @flydotio/litestream` brings 0.3.13), lz4. Those that are not are named.
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { raceChanges } from './changes-race.ts'
import { appTable } from './compete.ts'
import { raceFollowers } from './follow-race.ts'
import { makeDatabase } from './make-database.ts'
import { has } from './measure.ts'
import { raceRecoveries } from './recovery-race.ts'

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    folder: { type: 'string', default: join(tmpdir(), 'taskflow-backup-bench-changes') },
    seconds: { type: 'string', default: '60' },
    scene: { type: 'string', default: '' },
    logs: { type: 'string', default: '10000' },
    steps: { type: 'string', default: '86400' },
  },
})
mkdirSync(values.folder, { recursive: true })
const rounds = Number(values.rounds)
const base = join(values.folder, `records-${values.mib}m.db`)
const bytes = makeDatabase(base, Number(values.mib) * 1024 ** 2, 'records')
// What is measured works in a folder of its own, which is emptied; the database stays for the next time.
const folder = join(values.folder, 'work')
mkdirSync(folder, { recursive: true })
const missing = ['sqlite3_rsync', 'litestream', 'lz4', 'zstd', 'sqlite3'].filter((program) => !has(program))
console.log(
  `${(bytes / 1024 ** 2).toFixed(0)} MiB of records, ${cpus()[0]?.model}, ${availableParallelism()} cores, ${Math.round(totalmem() / 1024 ** 3)} GiB memory, Node ${process.versions.node}, ${rounds} rounds`,
)
console.log(missing.length === 0 ? '' : `Not run, because they are not on the path: ${missing.join(', ')}.\n`)

const wanted = (part: 'changes' | 'follow' | 'restore'): boolean => part.startsWith(values.only)
const race = { base, folder, rounds }
const appRows: (string | number)[][] = []
try {
  if (wanted('changes')) appRows.push(...(await raceChanges(race)))
  if (wanted('follow')) await raceFollowers({ ...race, seconds: Number(values.seconds), scene: values.scene })
  if (wanted('restore'))
    appRows.push(...(await raceRecoveries({ ...race, logs: Number(values.logs), seconds: Number(values.steps) })))
  if (appRows.length > 0) console.log(appTable(appRows))
} finally {
  for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true })
}
