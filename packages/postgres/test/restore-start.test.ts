import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type BackupPlan,
  createBackup,
  defineBackupPlan,
  directory,
  type Finding,
  type Runtime,
  restoreBackup,
} from '@taskflow-backup/core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type PostgresOptions, postgres } from '../src/index.ts'
import { readControlFile } from '../src/server/control-file.ts'
import { endProcess, postmastersBelow, runningPostmaster } from '../src/server/postmaster.ts'
import { RUN_AS, VERSIONS, type Version, whyNoServer } from './support/programs.ts'
import type { RestoreOrders } from './support/restore-worker.ts'
import { queryUrl } from './support/restored.ts'
import { TestServer } from './support/server.ts'

const version = VERSIONS.findLast((one) => whyNoServer(one) === undefined) as Version
if (version === undefined) console.warn(`No restored server is left running: ${whyNoServer(18)}`)

describe.skipIf(version === undefined)(`a restore that leaves PostgreSQL ${version} running`, () => {
  let server: TestServer
  let options: PostgresOptions
  let backups: string

  beforeAll(async () => {
    server = await TestServer.start(version)
    backups = join(server.folder, 'backups')
    const physical = { serverPrograms: server.programs, dataDirectory: server.dataDirectory }
    options = {
      connection: server.connection(),
      mode: 'physical',
      physical: { ...physical, ...(RUN_AS && { runAs: RUN_AS }) },
    }
    const space = join(server.folder, 'space')
    await fs.mkdir(space)
    if (RUN_AS) await fs.chown(space, RUN_AS.uid, RUN_AS.gid)
    await server.sql(`CREATE TABLESPACE space LOCATION '${space}'`)
    await server.sql("CREATE TABLE state TABLESPACE space AS SELECT 'restored' AS name")
    await createBackup(plan())
    await server.sql("UPDATE state SET name = 'live'")
  })
  afterEach(async () => {
    for (const pid of await postmastersBelow(server.folder, join(server.folder, 'restored')))
      if (pid !== server.pid) await endProcess(pid, 'SIGKILL', 240_000)
    for (const name of await fs.readdir(server.folder))
      if (name.includes('restored')) await fs.rm(join(server.folder, name), { recursive: true })
  })
  afterAll(() => server?.destroy())

  const plan = (runtime: Partial<Runtime> = {}): BackupPlan =>
    defineBackupPlan({ name: 'app', adapter: postgres(options), destinations: [directory(backups)], runtime })
  const STATE = 'SELECT name FROM state'
  const RESTORED = [{ name: 'restored' }]
  const restored = (): string => join(server.folder, 'restored')
  const places = async (): Promise<string[]> =>
    (await fs.readdir(server.folder)).filter((name) => name.includes('restored'))

  test('it goes on when the application has ended; a finding tells how to reach and to stop it', async () => {
    const worker: ChildProcess = fork(fileURLToPath(new URL('support/restore-worker.ts', import.meta.url)), {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const ended = once(worker, 'exit')
    await once(worker, 'message')
    const to = { dataDirectory: restored(), start: true }
    worker.send({ options, backups, temporary: server.folder, to } satisfies RestoreOrders)
    const [{ findings }] = (await once(worker, 'message')) as [{ findings: Finding[] }]
    worker.disconnect()
    await ended

    const { message, severity } = findings.find(({ check }) => check === 'started') as Finding
    expect(severity).toBe('ok')
    const [, host, port, user, database] = /psql -h '(.*?)' -p (\d+) -U '(.*?)' -d '(.*?)'/.exec(message) ?? []
    const url = `postgres://${user}@${encodeURIComponent(host as string)}:${port}/${database}`
    expect(await queryUrl(url, STATE)).toEqual(RESTORED)
    expect(await queryUrl(url, 'SHOW listen_addresses')).toEqual([{ listen_addresses: '' }])
    expect(await queryUrl(url, 'SHOW archive_mode')).toEqual([{ archive_mode: 'off' }])
    expect((await fs.stat(host as string)).mode & 0o777).toBe(0o700)
    // Beside the live server, which goes on.
    expect(await server.sql(STATE)).toEqual([{ name: 'live' }])
    expect(await runningPostmaster(restored())).not.toBe(await runningPostmaster(server.dataDirectory))
    // Nobody restores over it.
    await expect(restoreBackup(plan(), { to: restored(), overwrite: true })).rejects.toMatchObject({
      code: 'DATABASE_IN_USE',
    })

    const stop = /: ([^:]* stop -m fast -D '.*?');/.exec(message)?.[1] as string
    expect(spawnSync('sh', ['-c', stop], { ...RUN_AS, cwd: '/', encoding: 'utf8' })).toMatchObject({ status: 0 })
    expect(await runningPostmaster(restored())).toBeUndefined()
    expect(await readControlFile(restored())).toMatchObject({ shutDown: true })
  })

  /** Lets something happen instead of the second start of the restored server, the one in its final place. */
  function atFinalStart(instead: (...spawnArguments: Parameters<Runtime['spawn']>) => ChildProcess): Runtime['spawn'] {
    let starts = 0
    return ((command: string, args: readonly string[], more: object) => {
      if (args.includes('-D')) starts++
      return starts === 2 && args.includes('-D') ? instead(command, args, more) : spawn(command, args, more)
    }) as Runtime['spawn']
  }

  test.each([
    ['nothing', async () => {}, []],
    [
      'a folder',
      async () => {
        await fs.mkdir(restored())
        await fs.writeFile(join(restored(), 'note'), 'kept')
      },
      ['restored'],
    ],
  ])('one that does not start is no restore: %s is there, as before', async (_, prepare, left) => {
    await prepare()
    const failing = atFinalStart((_command, _args, more) => spawn('false', [], more as object))
    const failure = restoreBackup(plan({ spawn: failing }), {
      to: { dataDirectory: restored(), start: true },
      overwrite: true,
    })
    await expect(failure).rejects.toMatchObject({ code: 'PROGRAM_FAILED' })
    expect(await places()).toEqual(left)
    if (left.length > 0) expect(await fs.readdir(restored())).toEqual(['note'])
  })

  test('an abort while it starts ends it, and leaves nothing', async () => {
    const controller = new AbortController()
    let pid: number | undefined
    const aborting = atFinalStart((command, args, more) => {
      const child = spawn(command, args as readonly string[], more as object)
      pid = child.pid
      controller.abort()
      return child
    })
    const { signal } = controller
    const failure = restoreBackup(plan({ spawn: aborting }), { signal, to: { dataDirectory: restored(), start: true } })
    await expect(failure).rejects.toMatchObject({ code: 'ABORTED' })
    expect(pid).toBeGreaterThan(0)
    expect(() => process.kill(pid as number, 0)).toThrow('ESRCH')
    expect(await places()).toEqual([])
  })

  test.each([
    ['without recovery', () => ({ dataDirectory: restored(), start: true, recover: false })],
    [
      'when its socket would have too long a path',
      () => ({ dataDirectory: `${restored()}${'x'.repeat(60)}`, start: true }),
    ],
    ['when it is neither true nor false', () => ({ dataDirectory: restored(), start: 'yes' })],
  ])('is refused %s, before anything is touched', async (_, to) => {
    await expect(restoreBackup(plan(), { to: to() })).rejects.toMatchObject({ code: 'TARGET_INVALID' })
    expect(await places()).toEqual([])
  })

  // The last one: it stops the live server.
  test('never runs on the live data directory, although postgresql.conf names it', async () => {
    await fs.appendFile(join(server.dataDirectory, 'postgresql.conf'), `data_directory = '${server.dataDirectory}'\n`)
    await createBackup(plan())
    await server.sql("UPDATE state SET name = 'later'")
    await server.stop()
    const control = join(server.dataDirectory, 'global', 'pg_control')
    const before = await fs.readFile(control)
    const { findings } = await restoreBackup(plan(), { to: { dataDirectory: restored(), start: true } })
    expect(findings.filter(({ severity }) => severity !== 'ok')).toMatchObject([
      { check: 'configuration', message: expect.stringContaining(`-c data_directory='${restored()}'`) },
    ])
    const [name] = (await places()).filter((one) => one.includes('.started-'))
    const url = `postgres://postgres@${encodeURIComponent(join(server.folder, name as string))}:5432/postgres`
    expect(await queryUrl(url, STATE)).toEqual([{ name: 'live' }])
    expect(await fs.readFile(control)).toEqual(before)
    expect(await runningPostmaster(server.dataDirectory)).toBeUndefined()
  })
})
