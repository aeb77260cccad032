import { execFile, spawnSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { createBackup, defineBackupPlan, directory } from '@taskflow-backup/core'
import { expect, test } from 'vitest'
import { postgres } from '../src/index.ts'
import { clientPrograms, RUN_AS, whyNoServer } from './support/programs.ts'
import { TestServer } from './support/server.ts'

// The commands of docs/recover-by-hand.md for physical backups, run as they stand there by bash and the real tools.

const TOOLS = ['bash', 'zstd', 'tar', 'dd', 'truncate']
/** What of the page is run, and which rows must be there. */
const GOALS = { 'to a moment': 2, 'to the end': 3 } as const

test.for(Object.keys(GOALS) as (keyof typeof GOALS)[])('a full and its logs come back %s', async (goal, context) => {
  context.skip(whyNoServer(15) !== undefined, whyNoServer(15))
  const programs = clientPrograms()
  context.skip(programs?.version !== 15, 'pg_verifybackup of PostgreSQL 15 is not installed')
  const missing = TOOLS.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  context.skip(missing.length > 0, `not installed: ${missing.join(', ')}`)

  const folder = await mkdtemp(join(tmpdir(), 'by-hand-'))
  const server = await TestServer.start(15, { lean: true })
  context.onTestFinished(async () => {
    await server.destroy()
    await rm(folder, { recursive: true, force: true })
  })
  const plan = defineBackupPlan({
    name: 'taskmanagement',
    adapter: postgres({ connection: server.connection(), mode: 'physical', physical: { slot: 'by_hand' } }),
    destinations: [directory(join(folder, 'backups'))],
    strictKinds: true,
  })
  await server.sql('CREATE TABLE task (id int)')
  await server.sql('INSERT INTO task VALUES (1)')
  await createBackup(plan)
  await server.sql('INSERT INTO task VALUES (2)')
  // More than a segment, so that a log begins and ends in the middle of different ones.
  await server.sql('CREATE TABLE filler AS SELECT repeat(md5(i::text), 60) FROM generate_series(1, 15000) i')
  await createBackup(plan, { kind: 'log' })
  await sleep(20)
  const [{ now } = { now: new Date() }] = await server.sql<{ now: Date }>('SELECT clock_timestamp() AS now')
  await sleep(20)
  await server.sql('INSERT INTO task VALUES (3)')
  await createBackup(plan, { kind: 'log' })
  await server.sql('DROP TABLE task')
  await createBackup(plan) // a newer chain, which the page would take
  await rm(join(folder, 'backups', plan.name, (await chains(folder, plan.name)).at(-1) as string), { recursive: true })

  await mkdir(join(folder, 'tmp'))
  const page = await readFile(new URL('../../../docs/recover-by-hand.md', import.meta.url), 'utf8')
  const blocks = [...page.matchAll(/^```sh physical\n([\s\S]*?)^```$/gm)].map(([, code]) => code)
  expect(blocks).toHaveLength(3)
  const moved = blocks
    .join('')
    .replaceAll('/tmp/', `${folder}/tmp/`)
    .replaceAll('/var/backups/taskflow', join(folder, 'backups'))
    .replace(/^recovery_target_time = .*\n/m, (line) =>
      goal === 'to the end' ? '' : line.replace(/'.*'/, `'${now.toISOString().replace('T', ' ').replace('Z', '+00')}'`),
    )
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', moved], {
    env: { ...process.env, PATH: `${programs?.folder}:${process.env.PATH}` },
  })
  expect(stdout).toContain('backup successfully verified')

  await server.stop()
  await rename(server.dataDirectory, `${server.dataDirectory}.old`)
  await promisify(execFile)('cp', ['-a', join(folder, 'tmp', 'recovered'), server.dataDirectory])
  if (RUN_AS) await promisify(execFile)('chown', ['-R', `${RUN_AS.uid}:${RUN_AS.gid}`, server.dataDirectory])
  await chmod(server.dataDirectory, 0o700)
  await server.run()
  await expect.poll(async () => (await server.sql('SELECT pg_is_in_recovery() AS is'))[0]?.is).toBe(false)
  const rows = await server.sql<{ id: number }>('SELECT id FROM task ORDER BY id')
  expect(rows.map(({ id }) => id)).toEqual([1, 2, 3].slice(0, GOALS[goal]))
  expect(await server.sql('SELECT count(*)::int AS rows FROM filler')).toEqual([{ rows: 15_000 }])
})

async function chains(folder: string, plan: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ls', [join(folder, 'backups', plan)])
  return stdout.trim().split('\n')
}
