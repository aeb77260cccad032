// Measures backup and restore of a PostgreSQL cluster against PostgreSQL's own tools, all in one run.
//   pnpm --filter ./bench postgres [--gib 2] [--rounds 3] [--only physical|log|logical] [--folder DIR]
// A server 15 of its own (npm), and the client programs of Debian's PostgreSQL 15, which can take newer servers not.
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { clientPrograms, RUN_AS } from '../packages/postgres/test/support/programs.ts'
import { TestServer } from '../packages/postgres/test/support/server.ts'
import { appRow, appTable, compete, type Method, report } from './compete.ts'
import { quote, worker } from './measure.ts'
import { sameChecks, sameChecksOfDump, unpackOnly } from './restore-peers.ts'

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    folder: { type: 'string', default: join(tmpdir(), 'taskflow-backup-bench-postgres') },
  },
})
const programs = clientPrograms()
if (programs?.version !== 15) throw new Error('The client programs of PostgreSQL 15 are not installed.')
rmSync(values.folder, { recursive: true, force: true })
mkdirSync(values.folder, { recursive: true })
chmodSync(values.folder, 0o755)
const server = await TestServer.start(15, {
  // What is restored has the settings of its source: it has to reach the disk, as with every peer.
  settings: { wal_keep_size: '8GB', max_wal_size: '4GB', shared_buffers: '256MB', fsync: 'on' },
  hba: 'local all all trust\nlocal replication all trust\n',
})
const connection = { host: server.folder, user: 'postgres', database: 'bench' }
Object.assign(process.env, {
  PATH: `${programs.folder}:${process.env.PATH}`,
  PGHOST: server.folder,
  PGUSER: 'postgres',
})

try {
  await bench()
} finally {
  await server.destroy()
  rmSync(values.folder, { recursive: true, force: true })
}

async function bench(): Promise<void> {
  const bytes = await makeCluster(Number(values.gib) * 1024 ** 3)
  const { model } = cpus()[0] ?? {}
  console.log(
    `A cluster of ${(bytes / 1024 ** 3).toFixed(2)} GiB, ${model}, ${availableParallelism()} cores, Node ${process.versions.node}, ${values.rounds} rounds\n`,
  )
  const at = (name: string): string => quote(join(values.folder, name))
  const physical = JSON.stringify({
    connection,
    mode: 'physical',
    physical: { slot: 'ours', serverPrograms: server.programs, ...(RUN_AS && { runAs: RUN_AS }) },
  })
  const logical = JSON.stringify({ connection, logical: { globals: 'none' } })
  const ours = (verb: string, options: string, compression: string): string =>
    worker(verb, options, join(values.folder, 'backups'), compression)
  const appRows: (string | number)[][] = []
  const fresh = (): void => {
    for (const name of readdirSync(values.folder)) rmSync(join(values.folder, name), { recursive: true, force: true })
  }
  const race = async (title: string, name: string, command: string, peers: Method[], prepare = fresh) => {
    if (!isWanted(title)) return
    const results = await compete([{ name, command, prepare }, ...peers], Number(values.rounds), 600)
    console.log(`### ${title}\n\n${report(results)}\n`)
    appRows.push(appRow(title.toLowerCase(), results.get(name)))
  }
  const isWanted = (title: string): boolean => title.toLowerCase().startsWith(values.only)
  const basebackup = 'pg_basebackup -c fast -Ft -X fetch'
  // What a manifest of ours tells of every member; a hash that is still being computed when tee ends is not waited for.
  const hashed = 'tee >(sha256sum > /dev/null)'

  await race('Physical full, not compressed', 'taskflow-backup', ours('backup', physical, 'none'), [
    { name: 'pg_basebackup', command: `${basebackup} -D ${at('base')}`, prepare: fresh },
    {
      name: 'pg_basebackup, sha256sum',
      command: `${basebackup} -D - | ${hashed} > ${at('base.tar')} && sync ${at('base.tar')}`,
      prepare: fresh,
    },
  ])
  await race('Physical full, zstd level 1', 'taskflow-backup', ours('backup', physical, 'zstd:1'), [
    {
      name: 'pg_basebackup --compress=client-zstd:1',
      command: `${basebackup} -Z client-zstd:1 -D ${at('base')}`,
      prepare: fresh,
    },
    {
      name: 'pg_basebackup, sha256sum, zstd -1 -T2, sha256sum',
      command: `${basebackup} -D - | ${hashed} | zstd -q -1 -T2 | ${hashed} > ${at('base.zst')} && sync ${at('base.zst')}`,
      prepare: fresh,
    },
    {
      name: 'pg_basebackup --compress=client-gzip:1',
      command: `${basebackup} -Z client-gzip:1 -D ${at('base')}`,
      prepare: fresh,
    },
  ])
  fresh()
  execFileSync('bash', ['-c', ours('backup', physical, 'zstd:1')])
  await race(
    'Log of about 256 MiB, not compressed',
    'taskflow-backup',
    ours('log', physical, 'none'),
    [
      {
        name: 'pg_receivewal',
        command: `pg_receivewal -D ${at('wal')} --slot=peer --endpos="$(cat ${at('endpos')})" --no-loop`,
      },
    ],
    () => {
      rmSync(join(values.folder, 'wal'), { recursive: true, force: true })
      const sql = (text: string): void => void execFileSync('psql', ['-qXAt', '-d', 'bench', '-c', text])
      mkdirSync(join(values.folder, 'wal'))
      sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'peer'")
      sql("SELECT pg_create_physical_replication_slot('peer', true)")
      sql('INSERT INTO filler SELECT repeat(md5(i::text), 60) FROM generate_series(1, 120000) i')
      execFileSync('bash', ['-c', `psql -qXAt -d bench -c 'SELECT pg_current_wal_flush_lsn()' > ${at('endpos')}`])
    },
  )
  await race('Logical full', 'taskflow-backup, zstd level 3', ours('backup', logical, 'zstd'), [
    { name: 'pg_dump -Fc', command: `pg_dump -Fc -f ${at('dump')} bench && sync ${at('dump')}`, prepare: fresh },
    {
      name: 'pg_dump, gzip',
      command: `pg_dump bench | gzip > ${at('dump.gz')} && sync ${at('dump.gz')}`,
      prepare: fresh,
    },
    {
      name: 'pg_dump -Fc -Z0, zstd -3 -T2',
      command: `pg_dump -Fc -Z0 bench | zstd -q -3 -T2 > ${at('dump.zst')} && sync ${at('dump.zst')}`,
      prepare: fresh,
    },
  ])
  fresh()
  const file = (suffix: string): string => {
    const stored = readdirSync(join(values.folder, 'backups'), { recursive: true, encoding: 'utf8' })
    return join(values.folder, 'backups', stored.find((name) => name.endsWith(suffix)) ?? '')
  }
  let dump = ''
  if (isWanted('Logical restore')) {
    execFileSync('bash', ['-c', ours('backup', logical, 'zstd')])
    execFileSync('bash', ['-c', `pg_dump -Fc -f ${at('dump')} bench`])
    dump = file('.dump.zst')
  }
  const newDatabase = (): void => {
    for (const name of ['restored', 'peer']) execFileSync('dropdb', ['--if-exists', '--force', name])
    execFileSync('createdb', ['peer'])
  }
  await race(
    'Logical restore to a new database',
    'taskflow-backup, with its checks',
    ours('restore:restored', logical, 'zstd'),
    [
      { name: 'pg_restore -j2', command: `pg_restore -j2 -d peer ${at('dump')}`, prepare: newDatabase },
      {
        name: 'sha256sum, zstd -d, sha256sum, pg_restore -j2, vacuumdb --analyze-only',
        command: sameChecksOfDump(dump, join(values.folder, 'plain'), 'peer'),
        prepare: newDatabase,
      },
    ],
    newDatabase,
  )
  fresh()
  execFileSync('bash', ['-c', ours('backup', physical, 'zstd:1')])
  const base = { tar: file('.base.tar.zst'), manifest: file('.backup_manifest.zst') }
  const peer = join(values.folder, 'peer')
  const clear = (): void => {
    for (const name of ['restored', 'peer']) rmSync(join(values.folder, name), { recursive: true, force: true })
    mkdirSync(join(values.folder, 'peer'))
  }
  await race(
    'Physical restore to a new data directory',
    'taskflow-backup, recovered and checked',
    ours(`restore:${join(values.folder, 'restored')}`, physical, 'zstd:1'),
    [
      { name: 'zstd -d, tar -x (nothing checked)', command: unpackOnly(base, peer), prepare: clear },
      {
        name: 'zstd -d, tar -x, sha256sum, pg_verifybackup, postgres, pg_amcheck',
        command: sameChecks(base, peer, server.programs, RUN_AS),
        prepare: clear,
      },
    ],
    clear,
  )
  console.log(appTable(appRows))
}

async function makeCluster(bytes: number): Promise<number> {
  await server.sql('CREATE DATABASE bench')
  const client = await server.client('bench')
  await client.query(`
    CREATE TABLE task (id bigint PRIMARY KEY, title text, owner int, created_at timestamptz, payload bytea);
    CREATE TABLE filler (text text)`)
  const rows = Math.ceil(bytes / 420)
  // Titles that compress, and a quarter of bytes that do not.
  await client.query(
    `INSERT INTO task SELECT i, 'Task ' || i || ': ' || repeat('call the landlord, order the scanner; ', 5), i % 100,
       '2026-01-01'::timestamptz + i * interval '1 second', decode(md5(i::text) || md5((i + 1)::text) || md5((i + 2)::text), 'hex')
     FROM generate_series(1, $1::int) i`,
    [rows],
  )
  await client.query('CREATE INDEX ON task (owner)')
  await client.query('VACUUM ANALYZE')
  await client.query('CHECKPOINT')
  const { rows: size } = await client.query('SELECT sum(pg_database_size(oid))::bigint AS bytes FROM pg_database')
  await client.end()
  return Number(size[0].bytes)
}
