import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createBackup, restoreBackup } from '@taskflow-backup/core'
import { afterEach, describe, expect, test } from 'vitest'
import { endProcess, postmastersBelow, runningPostmaster } from '../src/server/postmaster.ts'
import { physicalSite, plainMembers } from './support/physical.ts'
import { physicalPlan, restoredRows } from './support/physical-plan.ts'
import { RUN_AS, systemServer, type Version, whyNoSystemServer } from './support/programs.ts'
import { queryDataDirectory, queryUrl } from './support/restored.ts'
import { type ServerOptions, TestServer } from './support/server.ts'

const reason = whyNoSystemServer()
if (reason) console.warn(`The server of the system is not tried: ${reason}`)
const { version, programs } = systemServer() ?? { version: 15 as Version, programs: '' }

// What the servers of the packages cannot do, and the way in which Debian sets servers up.
describe.skipIf(reason)(`the server of the system, PostgreSQL ${version}`, () => {
  let server: TestServer
  afterEach(async () => {
    await server?.stop()
    for (const pid of await postmastersBelow(server.folder, join(server.folder, 'restored')))
      await endProcess(pid, 'SIGKILL', 240_000)
    await server.destroy()
  })

  const start = async (options: ServerOptions = {}): Promise<void> => {
    server = await TestServer.start(version, { programs, ...options })
    await server.sql('CREATE TABLE note (id serial PRIMARY KEY, name text)')
    await server.sql("INSERT INTO note (name) VALUES ('full')")
  }
  const NAMES = 'SELECT name FROM note ORDER BY id'

  test('compresses what it sends with zstd, and that is restored', async () => {
    await start({ settings: { log_replication_commands: 'on' } })
    await server.sql('INSERT INTO note (name) SELECT repeat(md5(i::text), 8) FROM generate_series(1, 20000) i')
    const site = physicalSite(server, {
      serverCompression: 'zstd',
      serverPrograms: programs,
      ...(RUN_AS && { runAs: RUN_AS }),
    })
    const { id } = await site.backup()
    expect(server.log()).toMatch(/BASE_BACKUP.*COMPRESSION.*zstd/)

    const folder = join(server.folder, 'plain')
    await fs.mkdir(folder)
    for (const [name, bytes] of await plainMembers(site, id)) {
      if (name === 'backup_manifest') await fs.writeFile(join(folder, name), bytes)
      else expect(spawnSync('tar', ['-x', '-C', folder], { input: bytes }).status).toBe(0)
    }
    const checked = spawnSync(join(programs, 'pg_verifybackup'), [folder], { encoding: 'utf8' })
    expect(checked).toMatchObject({ status: 0, stderr: '' })

    const { rows, result } = await restoredRows<{ rows: number }>(
      site.plan,
      { to: join(server.folder, 'restored') },
      'SELECT count(*)::int AS rows FROM note',
    )
    expect(rows).toEqual([{ rows: 20_001 }])
    expect(result.findings.map(({ severity }) => severity)).toEqual(result.findings.map(() => 'ok'))
  })

  test('with its configuration outside of the data directory is restored to a moment', async () => {
    await start({ etc: true, settings: { max_connections: 37 } })
    expect(await fs.readdir(server.dataDirectory)).not.toContain('postgresql.conf')
    const plan = physicalPlan(server, { dataDirectory: server.dataDirectory })
    await createBackup(plan)
    await server.sql("INSERT INTO note (name) VALUES ('before')")
    await sleep(50)
    const [{ now } = { now: new Date() }] = await server.sql<{ now: Date }>('SELECT clock_timestamp() AS now')
    await sleep(50)
    await server.sql('DROP TABLE note')
    await createBackup(plan, { kind: 'log' })

    const to = join(server.folder, 'restored')
    const started = { to: { dataDirectory: to, start: true }, at: now }
    const { rows, result } = await restoredRows<{ name: string }>(plan, started, NAMES)
    expect(rows.map(({ name }) => name)).toEqual(['full', 'before'])
    expect(result.findings.filter(({ severity }) => severity !== 'ok')).toMatchObject([
      { check: 'configuration', message: expect.stringContaining(`-c data_directory='${to}'`) },
    ])
    // What recovers it and is left running needs no configuration.
    const socket = (await fs.readdir(server.folder)).find((name) => name.startsWith('restored.started-')) as string
    const url = `postgres://postgres@${encodeURIComponent(join(server.folder, socket))}:5432/postgres`
    expect(await queryUrl(url, NAMES)).toEqual(rows)
    expect(await queryUrl(url, 'SHOW max_connections')).toEqual([{ max_connections: '37' }])
    expect(await endProcess((await runningPostmaster(to)) as number, 'SIGINT', 240_000)).toBe(true)
    // What the finding says is what it needs: the live one's configuration, led to the new place.
    const lent = ['-c', `config_file=${join(server.folder, 'etc', 'postgresql.conf')}`]
    const led = ['-c', `data_directory=${to}`, '-c', 'external_pid_file=']
    expect(await queryDataDirectory(to, programs, NAMES, [...lent, ...led])).toEqual(rows)

    // Laid ready, it takes the place up to where it recovers from its own directory, whatever lends the rest.
    const laid = join(server.folder, 'laid')
    const { findings } = await restoreBackup(plan, { at: now, to: { dataDirectory: laid, recover: false } })
    expect(findings.map(({ check }) => check)).toEqual(['start-by-hand', 'configuration'])
    const ledToLaid = ['-c', `data_directory=${laid}`, '-c', 'external_pid_file=']
    expect(await queryDataDirectory(laid, programs, NAMES, [...lent, ...ledToLaid])).toEqual(rows)

    // In the place of the live one, its configuration is where it was.
    await server.stop()
    const live = await restoreBackup(plan, { at: now })
    expect(live.findings.filter(({ severity }) => severity !== 'ok')).toEqual([])
    await server.run()
    expect(await server.sql(NAMES)).toEqual(rows)
  })
})
