// Measures backup, verification and restore of a SQLite database against other tools, all in one run.
//   pnpm --filter ./bench sqlite [--gib 1] [--rounds 3] [--folder DIR] [--data records|prose] [--only quiet|busy|read]
// The methods take turns, so that a machine that gets slower gets slower for all; ratios are medians of the rounds.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { appRow, appTable, compete, type Method, report } from './compete.ts'
import { makeDatabase, type Shape } from './make-database.ts'
import { has, here, quote, run, worker } from './measure.ts'

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: join(tmpdir(), 'taskflow-backup-bench') },
    data: { type: 'string', default: 'records' },
    only: { type: 'string' },
  },
})
const rounds = Number(values.rounds)
mkdirSync(values.folder, { recursive: true })
const database = join(values.folder, `${values.data}-${values.gib}g.db`)
const bytes = makeDatabase(database, Number(values.gib) * 1024 ** 3, values.data as Shape)
const at = (name: string): string => quote(join(values.folder, name))
const db = quote(database)
const backups = join(values.folder, 'backups')

const remove =
  (...names: string[]) =>
  () => {
    for (const name of names) rmSync(join(values.folder, name), { recursive: true, force: true })
  }
const threads = `-T${availableParallelism()}`
const restic = `RESTIC_PASSWORD=bench restic -q -r ${at('restic')}`

const zstd = (from: string, to: string): string => `zstd -q -f -3 ${threads} ${at(from)} -o ${at(to)} && sync ${at(to)}`
/** The same with what a manifest needs: SHA-256 of both sides, in processes of their own. */
const hashed = (from: string, to: string): string =>
  `tee >(sha256sum >&2) <${at(from)} | zstd -q -3 ${threads} | tee >(sha256sum >&2) >${at(to)} && sync ${at(to)}`
const copy = `sqlite3 ${db} ${quote(`.backup '${join(values.folder, 'copy.db')}'`)}`
const live = basename(database)

const backupMethods: Method[] = [
  { name: 'taskflow-backup', command: worker('backup', database, backups), prepare: remove('backups') },
  {
    name: 'sqlite3 .backup, then zstd',
    command: `${copy} && ${zstd('copy.db', 'copy.zst')}`,
    prepare: remove('copy.db', 'copy.zst'),
  },
  {
    name: 'sqlite3 .backup, then zstd and both hashes',
    command: `${copy} && ${hashed('copy.db', 'copy.zst')}`,
    prepare: remove('copy.db', 'copy.zst'),
  },
  { name: 'zstd of the bare file (unsafe)', command: zstd(live, 'bare.zst'), prepare: remove('bare.zst') },
  {
    name: 'zstd of the bare file and both hashes (unsafe)',
    command: hashed(live, 'bare.zst'),
    prepare: remove('bare.zst'),
  },
  {
    name: 'cp (unsafe, not compressed)',
    command: `cp ${db} ${at('cp.db')} && sync ${at('cp.db')}`,
    prepare: remove('cp.db'),
  },
  ...(has('restic')
    ? [
        {
          name: 'restic backup (unsafe)',
          command: `${restic} backup ${db}`,
          prepare: () => {
            remove('restic')()
            spawnSync('sh', ['-c', `${restic} init`])
          },
        },
      ]
    : []),
]

const appRows: (string | number)[][] = []

/** How fast one core hashes: without instructions made for it, hashing costs a third of what compressing costs. */
function hashSpeed(): number {
  const piece = Buffer.alloc(1024 * 1024, 1)
  const hash = createHash('sha256')
  const startedMs = performance.now()
  for (let i = 0; i < 256; i++) hash.update(piece)
  return Math.round(256 / ((performance.now() - startedMs) / 1000))
}
console.log(
  `${(bytes / 1024 ** 3).toFixed(2)} GiB of ${values.data}, ${cpus()[0]?.model}, ${availableParallelism()} cores, ${Math.round(totalmem() / 1024 ** 3)} GiB memory, Node ${process.versions.node}, SHA-256 at ${hashSpeed()} MiB/s, ${rounds} rounds\n`,
)

const wanted = (part: 'quiet' | 'busy' | 'read'): boolean => values.only === undefined || values.only === part

if (wanted('quiet')) {
  const quiet = await compete(backupMethods, rounds, 300)
  console.log(`### Backup, nobody writes\n\n${report(quiet)}\n`)
  appRows.push(appRow('backup, nobody writes', quiet.get('taskflow-backup')))
}

if (wanted('busy')) {
  const writer = spawn(process.execPath, [here('writer.ts'), database, '200'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  writer.stdout.on('data', (text: Buffer) => (said += text))
  const busy = await compete(backupMethods, rounds, 60)
  writer.kill('SIGTERM')
  await once(writer, 'close')
  console.log(`### Backup while another process commits 200 transactions a second\n\n${report(busy)}\n`)
  console.log(`The writer's commits over all of these runs: ${said.trim()}\n`)
  appRows.push(appRow('backup, 200 transactions a second', busy.get('taskflow-backup')))
}

if (wanted('read')) {
  remove('backups')()
  await run(worker('backup', database, backups))
  const [stored = ''] = readdirSync(backups, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.zst'),
  )
  const file = quote(join(backups, stored))
  const check = `sqlite3 ${at('out.db')} 'PRAGMA integrity_check; PRAGMA foreign_key_check;'`
  const compare = async (title: string, verb: string, peers: Method[]): Promise<void> => {
    const ours = {
      name: 'taskflow-backup',
      command: worker(verb, database, backups),
      prepare: remove('backups/restored.db'),
    }
    const results = await compete([ours, ...peers], rounds, 300)
    console.log(`### ${title}\n\n${report(results)}\n`)
    appRows.push(appRow(title.toLowerCase(), results.get('taskflow-backup')))
  }
  const unpack = `zstd -q -d -f ${file} -o ${at('out.db')} && sync ${at('out.db')}`
  await compare('Verify, stored', 'stored', [{ name: 'sha256sum', command: `sha256sum ${file}` }])
  await compare('Verify, decoded', 'decoded', [
    { name: 'zstd -d, sha256sum', command: `zstd -q -d -c ${file} | sha256sum` },
    { name: 'zstd -t (no hash)', command: `zstd -q -t ${file}` },
  ])
  await compare('Verify, restored', 'restored', [
    { name: 'zstd -d, then integrity_check', command: `${unpack} && ${check}`, prepare: remove('out.db') },
  ])
  await compare('Restore to a new file', 'restore', [
    { name: 'zstd -d, then integrity_check', command: `${unpack} && ${check}`, prepare: remove('out.db') },
    { name: 'zstd -d (no check)', command: unpack, prepare: remove('out.db') },
  ])
}

console.log(appTable(appRows))
for (const name of ['backups', 'bare.zst', 'copy.db', 'copy.zst', 'cp.db', 'restic', 'out.db']) remove(name)()
