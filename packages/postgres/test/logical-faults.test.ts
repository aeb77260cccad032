import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type BackupError,
  type BackupPlan,
  createBackup,
  listBackups,
  memory,
  pruneBackups,
  restoreBackup,
  type Storage,
} from '@taskflow-backup/core'
import { afterAll, test as base, beforeAll, describe, expect } from 'vitest'
import { Databases, startSharedServer, whyNoLogical } from './support/databases.ts'
import { programsOn, runningProcesses } from './support/processes.ts'
import { PASSWORD, type TestServer } from './support/server.ts'

const why = whyNoLogical() ?? (process.platform === 'linux' ? undefined : 'processes are looked at in /proc')
let server: TestServer

/** 40 MB in a dump: more than all the buffers between `pg_dump` and a storage that does not take it. */
const LARGE = `CREATE TABLE large AS SELECT i AS id, repeat(md5(i::text), 100) AS text FROM generate_series(1, 12500) i`
/** Its index takes a minute in a database that is being restored, and nowhere else. */
const SLOW = `
  CREATE FUNCTION slow(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $f$ BEGIN
    IF current_database() LIKE '%\\_restoring\\_%' THEN PERFORM pg_sleep(60); END IF;
    RETURN id;
  END $f$;
  CREATE TABLE task AS SELECT i AS id FROM generate_series(1, 10) i;
  CREATE INDEX ON task (public.slow(id))`

const test = base.extend<{ databases: Databases }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads which fixtures are used from the pattern
  databases: async ({}, use) => {
    const databases = await Databases.make(server)
    await use(databases)
    await databases.destroy()
  },
})

const failure = (work: Promise<unknown>): Promise<BackupError> =>
  work.then(
    () => expect.unreachable('it succeeded'),
    (error: BackupError) => error,
  )

/** A storage in memory that takes the bytes of a dump only when it is told to. */
function heldStorage() {
  const storage = memory()
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  const held: Storage = {
    ...storage,
    async put(key, body, options) {
      if (key.includes('.dump') || key.includes('.tar')) await gate
      return storage.put(key, body, options)
    },
  }
  return { held, release }
}

function endPrograms(signal: NodeJS.Signals): void {
  for (const text of programsOn(server.folder)) process.kill(Number.parseInt(text, 10), signal)
}

async function untilRunning(program: string): Promise<void> {
  await expect
    .poll(() => programsOn(server.folder).some((text) => text.includes(`/${program} `)), {
      interval: 20,
    })
    .toBe(true)
}

async function expectNothingLeft(databases: Databases, plan: BackupPlan): Promise<void> {
  expect(await readdir(databases.temporary)).toEqual([])
  expect(programsOn(server.folder)).toEqual([])
  await expect.poll(() => databases.sessions()).toEqual([])
  expect(await databases.staged()).toEqual([])
  const { backups, incomplete } = await listBackups(plan)
  expect([backups.length, incomplete]).toEqual([0, []])
}

describe.skipIf(why !== undefined)(`faults while dumping and loading${why === undefined ? '' : `: ${why}`}`, () => {
  beforeAll(async () => {
    server = await startSharedServer()
  })
  afterAll(() => server?.destroy())

  /** Ways in which a program comes to a bad end, and what is then thrown. */
  const faults: readonly [string, RegExp, (databases: Databases) => unknown][] = [
    ['the program is killed', /PROGRAM_FAILED/, () => endPrograms('SIGKILL')],
    ['the program is told to end', /PROGRAM_FAILED|SERVER_/, () => endPrograms('SIGTERM')],
    [
      'its connection is cut',
      /SERVER_UNREACHABLE/,
      () =>
        server.sql(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'taskflow-backup %'`,
        ),
    ],
    [
      'the server is killed',
      /SERVER_UNREACHABLE/,
      async () => {
        await server.stop('SIGKILL')
      },
    ],
  ]

  test.for(faults)('%s in the middle of a dump: no backup, nothing left', async ([, codes, fault], { databases }) => {
    await databases.sql(LARGE)
    const { held, release } = heldStorage()
    const plan = databases.plan({ destinations: [held] })
    const failed = failure(createBackup(plan))
    await untilRunning('pg_dump')
    // Data has begun to flow: the snapshot is taken and the tables are locked.
    await expect
      .poll(() => server.sql(`SELECT FROM pg_stat_activity WHERE query LIKE 'COPY public.large%'`))
      .toHaveLength(1)
    await fault(databases)
    release()
    const error = await failed
    expect(error.code).toMatch(codes)
    expect(`${error.message}${JSON.stringify(error)}${error.cause}`).not.toContain(PASSWORD)
    await server.run()
    await expectNothingLeft(databases, plan)
    await createBackup(plan)
  })

  test.for(faults)('%s in the middle of a restore: nothing left', async ([, codes, fault], { databases }) => {
    await databases.sql(SLOW)
    const plan = databases.plan({ destinations: [memory()] })
    await createBackup(plan)
    const failed = failure(restoreBackup(plan))
    await untilRunning('pg_restore')
    await expect.poll(() => server.sql(`SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'`)).toHaveLength(1)
    await fault(databases)
    const error = await failed
    expect(error.code).toMatch(codes)
    await server.run()
    // A server that is gone cannot drop anything: the next prune does.
    await pruneBackups(plan)
    expect(await databases.list()).toEqual(['_live'])
    expect(await readdir(databases.temporary)).toEqual([])
    expect(programsOn(server.folder)).toEqual([])
    await expect.poll(() => databases.sessions()).toEqual([])
    expect(await databases.rows('SELECT count(*)::int FROM task')).toEqual([[10]])
  })

  test('an abort ends the programs and what they do on the server', async ({ databases }) => {
    await databases.sql(`${LARGE}; ${SLOW}`)
    const { held, release } = heldStorage()
    const plan = databases.plan({ destinations: [held] })
    const first = new AbortController()
    const backup = failure(createBackup(plan, { signal: first.signal }))
    await untilRunning('pg_dump')
    first.abort()
    release()
    expect((await backup).code).toBe('ABORTED')
    await expectNothingLeft(databases, plan)

    await createBackup(plan)
    const second = new AbortController()
    const restore = failure(restoreBackup(plan, { signal: second.signal }))
    await expect.poll(() => server.sql(`SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'`)).toHaveLength(1)
    second.abort()
    expect((await restore).code).toBe('ABORTED')
    expect(programsOn(server.folder)).toEqual([])
    await expect.poll(() => databases.sessions()).toEqual([])
    expect(await databases.list()).toEqual(['_live'])
    expect(await readdir(databases.temporary)).toEqual([])
  })

  test('an abort ends a backup that waits for a lock', async ({ databases }) => {
    await databases.sql('CREATE TABLE task (id int)')
    const client = await server.client(databases.live)
    try {
      await client.query('BEGIN; LOCK TABLE task')
      const plan = databases.plan({ destinations: [memory()] })
      const aborter = new AbortController()
      const failed = failure(createBackup(plan, { signal: aborter.signal }))
      const waiting = `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '${databases.live}'`
      await expect.poll(() => server.sql(waiting)).toHaveLength(1)
      aborter.abort()
      expect((await failed).code).toBe('ABORTED')
      await expectNothingLeft(databases, plan)
    } finally {
      await client.end()
    }
  })

  test('the password is in no argument of any process, while dumping and while loading', async ({ databases }) => {
    await databases.sql(`${LARGE}; ${SLOW}`)
    const { held, release } = heldStorage()
    const plan = databases.plan({ destinations: [held] })
    const seen: string[] = []
    const look = (): void => {
      for (const { args } of runningProcesses()) if (args.join(' ').includes(PASSWORD)) seen.push(args.join(' '))
    }
    const timer = setInterval(look, 100)
    try {
      const backup = createBackup(plan)
      await untilRunning('pg_dump')
      look()
      release()
      await backup
      const aborter = new AbortController()
      const restore = failure(restoreBackup(plan, { signal: aborter.signal }))
      await untilRunning('pg_restore')
      look()
      aborter.abort()
      await restore
    } finally {
      clearInterval(timer)
    }
    expect(seen).toEqual([])
  })

  test('a full disk for temporary files: said so, and nothing left', async ({ databases, skip }) => {
    skip(process.getuid?.() !== 0, 'only root can mount a small disk')
    const small = join(databases.folder, 'small')
    await mkdir(small)
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', small])
    skip(mounted.status !== 0, 'mounting is not allowed here')
    try {
      await databases.sql(LARGE)
      const destinations = [memory()]
      const custom = databases.plan({ destinations, temporaryDirectory: small })
      const directory = databases.plan({
        destinations: [memory()],
        temporaryDirectory: small,
        postgres: { logical: { format: 'directory' } },
      })
      const full = await failure(createBackup(directory))
      expect(full).toMatchObject({ code: 'PROGRAM_FAILED', message: expect.stringContaining('No space left') })
      expect(full.hint).toContain('temporaryDirectory')
      await createBackup(custom)
      const error = await failure(restoreBackup(custom))
      expect(error).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining('no room') })
      expect(await readdir(small)).toEqual([])
      expect(await databases.list()).toEqual(['_live'])
    } finally {
      spawnSync('umount', [small])
    }
  })

  test('what cannot work is refused with a code of its own', async ({ databases }) => {
    const nowhere = await mkdtemp(join(tmpdir(), 'taskflow-empty-'))
    const connection = server.connection({ database: databases.live })
    const refusals = [
      [{ clientPrograms: nowhere }, 'PROGRAM_MISSING'],
      [{ connection: { ...connection, password: 'wrong' } }, 'SERVER_REFUSED'],
      [{ connection: { ...connection, database: `${databases.prefix}_nothing` } }, 'SOURCE_MISSING'],
      [{ connection: { ...connection, host: nowhere } }, 'SERVER_UNREACHABLE'],
    ] as const
    for (const [options, code] of refusals) {
      const plan = databases.plan({ destinations: [memory()], postgres: options })
      expect((await failure(createBackup(plan))).code).toBe(code)
    }
    await rm(nowhere, { recursive: true })
  })
})
