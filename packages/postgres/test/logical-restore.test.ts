import { type BackupError, createBackup, restoreBackup, undoRestore } from '@taskflow-backup/core'
import { afterAll, test as base, beforeAll, describe, expect } from 'vitest'
import { Databases, quoted, startSharedServer, whyNoLogical } from './support/databases.ts'
import { PASSWORD, type TestServer } from './support/server.ts'

const why = whyNoLogical()
let server: TestServer

const test = base.extend<{ databases: Databases }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads which fixtures are used from the pattern
  databases: async ({}, use) => {
    const databases = await Databases.make(server, {
      sql: `CREATE TABLE task (id int PRIMARY KEY, title text); INSERT INTO task VALUES (1, 'one'), (2, 'two')`,
    })
    await use(databases)
    await databases.destroy()
  },
})
const failure = (work: Promise<unknown>): Promise<BackupError> =>
  work.then(
    () => expect.unreachable('it succeeded'),
    (error: BackupError) => error,
  )

describe.skipIf(why !== undefined)(`restores of dumps${why === undefined ? '' : `: ${why}`}`, () => {
  beforeAll(async () => {
    server = await startSharedServer()
  })
  afterAll(() => server?.destroy())

  test('what belongs to the database itself is carried over from the one that is replaced', async ({ databases }) => {
    const { live, prefix } = databases
    const plan = databases.plan()
    await createBackup(plan)
    await server.sql(`CREATE ROLE "${prefix} Boss"; CREATE ROLE "${prefix}_app"`)
    for (const statement of [
      `ALTER DATABASE ${quoted(live)} OWNER TO "${prefix} Boss"`,
      `ALTER DATABASE ${quoted(live)} SET search_path = "$user", "My ""Schema""", public`,
      `ALTER DATABASE ${quoted(live)} SET "app.greeting" = 'it''s \\ a, "b"'`,
      `ALTER ROLE "${prefix}_app" IN DATABASE ${quoted(live)} SET statement_timeout = '7s'`,
      `ALTER DATABASE ${quoted(live)} CONNECTION LIMIT 33`,
      `REVOKE ALL ON DATABASE ${quoted(live)} FROM PUBLIC`,
      `GRANT CONNECT ON DATABASE ${quoted(live)} TO "${prefix}_app" WITH GRANT OPTION`,
      `COMMENT ON DATABASE ${quoted(live)} IS 'the ''live'' one'`,
    ])
      await server.sql(statement)
    const facts = `
      SELECT pg_get_userbyid(datdba) AS owner, datconnlimit, shobj_description(d.oid, 'pg_database') AS comment,
        (SELECT jsonb_agg(a::text ORDER BY a::text) FROM unnest(datacl) a) AS acl,
        (SELECT jsonb_agg(jsonb_build_array(setrole::regrole, setconfig) ORDER BY setrole) FROM pg_db_role_setting
          WHERE setdatabase = d.oid) AS settings
      FROM pg_database d WHERE datname = '${live}'`
    const before = await server.sql(facts)
    await restoreBackup(plan)
    const after = await server.sql(facts)
    expect(after).toEqual(before)
    expect(await databases.rows('SHOW search_path')).toEqual([['"$user", "My ""Schema""", public']])
    expect(await databases.rows('SHOW app.greeting')).toEqual([[`it's \\ a, "b"`]])
  })

  test('a database in use is refused, with the names of who uses it', async ({ databases }) => {
    const plan = databases.plan()
    await createBackup(plan)
    const client = await server.client(databases.live)
    try {
      await client.query(`SET application_name = 'the app'`)
      const error = await failure(restoreBackup(plan))
      expect(error.code).toBe('DATABASE_IN_USE')
      expect(error.message).toContain('the app')
      expect((await client.query('SELECT count(*)::int AS n FROM task')).rows).toEqual([{ n: 2 }])
      expect(await databases.list()).toEqual(['_live'])
    } finally {
      await client.end()
    }
  })

  test('evenIfInUse ends the connections, also of an app that connects again and again', async ({ databases }) => {
    const plan = databases.plan()
    await createBackup(plan)
    await databases.sql('DELETE FROM task')
    let over = false
    let connected = 0
    const stubborn = async (): Promise<void> => {
      while (!over) {
        const client = await server.client(databases.live).catch(() => undefined)
        if (!client) continue
        connected++
        await new Promise<void>((resolve) => {
          client.once('end', () => resolve())
          if (over) resolve()
        })
        await client.end().catch(() => {})
      }
    }
    const apps = [stubborn(), stubborn(), stubborn()]
    await expect.poll(() => connected).toBeGreaterThanOrEqual(3)
    await restoreBackup(plan, { evenIfInUse: true })
    over = true
    const before = await databases.rows('SELECT count(*)::int FROM task')
    await server.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${databases.live}'`)
    await Promise.all(apps)
    expect(before).toEqual([[2]])
    // Nobody is kept out afterwards, and the old one is there.
    expect(await databases.list()).toEqual([expect.stringMatching(/^_live$/), expect.stringMatching(/before_restore/)])
    expect(await server.sql(`SELECT datname FROM pg_database WHERE NOT datallowconn`)).toEqual([
      { datname: 'template0' },
    ])
  })

  test('an empty database at the place is used, another one is not', async ({ databases }) => {
    const plan = databases.plan()
    await createBackup(plan)
    const to = `${databases.prefix}_given`
    await server.sql(`CREATE DATABASE ${to}`)
    await server.sql(`COMMENT ON DATABASE ${to} IS 'given'`)
    const { undo } = await restoreBackup(plan, { to })
    expect(await databases.rows('SELECT count(*)::int FROM task', to)).toEqual([[2]])
    const comment = `SELECT shobj_description(oid, 'pg_database') AS c FROM pg_database WHERE datname = '${to}'`
    expect(await server.sql(comment)).toEqual([{ c: 'given' }])
    expect((await failure(restoreBackup(plan, { to }))).code).toBe('TARGET_EXISTS')
    await undoRestore(plan, undo)
    expect(await databases.rows(`SELECT FROM pg_class WHERE relname = 'task'`, to)).toEqual([])
  })

  test('a live database that was dropped comes back', async ({ databases }) => {
    const plan = databases.plan()
    await createBackup(plan)
    await server.sql(`DROP DATABASE ${databases.live}`)
    const { undo } = await restoreBackup(plan)
    expect(undo.kept).toBeUndefined()
    expect(await databases.rows('SELECT count(*)::int FROM task')).toEqual([[2]])
    const comment = `SELECT shobj_description(oid, 'pg_database') AS c FROM pg_database WHERE datname = '${databases.live}'`
    expect(await server.sql(comment)).toEqual([{ c: null }])
  })

  test.for([
    ['nothing', ''],
    ['a name that is too long', 'n'.repeat(64)],
    ['a number', 7],
    ['a template', 'template1'],
  ] as const)('%s is no target', async ([, to], { databases }) => {
    const plan = databases.plan()
    await createBackup(plan)
    expect((await failure(restoreBackup(plan, { to }))).code).toBe('TARGET_INVALID')
  })

  test('a name of 63 bytes can be replaced, and replaced again', async ({ databases }) => {
    const plan = databases.plan()
    await createBackup(plan)
    const to = databases.prefix + 'ü'.repeat(27)
    expect(Buffer.byteLength(to)).toBe(63)
    await restoreBackup(plan, { to })
    await restoreBackup(plan, { to, overwrite: true })
    const { undo } = await restoreBackup(plan, { to, overwrite: true })
    expect(await databases.rows('SELECT count(*)::int FROM task', to)).toEqual([[2]])
    expect((await databases.list()).filter((name) => name.includes('_before_restore_'))).toHaveLength(2)
    await undoRestore(plan, undo)
  })

  test('roles and extensions that the server has not are told before anything is made', async ({ databases }) => {
    const role = `${databases.prefix} Gone`
    await databases.sql(`CREATE ROLE "${role}"; ALTER TABLE task OWNER TO "${role}"`)
    const plan = databases.plan()
    await createBackup(plan)
    await databases.sql(`ALTER TABLE task OWNER TO postgres; DROP ROLE "${role}"`)
    const error = await failure(restoreBackup(plan))
    expect(error).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining(role) })
    expect(error.hint).toContain('globals.sql')
    expect(await databases.list()).toEqual(['_live'])

    // An extension of this name was never on this server: as if the backup came from another one.
    const adapter = databases.adapter()
    const withExtension = {
      ...adapter,
      restore: (...[request, ctx]: Parameters<typeof adapter.restore>) => {
        const [backup] = request.backups as [(typeof request.backups)[number]]
        const { source } = backup.manifest
        const extensions = [{ name: 'postgis_of_elsewhere', version: '3', schema: 'public' }]
        const manifest = {
          ...backup.manifest,
          source: { ...source, details: { ...source.details, owners: [], extensions } },
        }
        return adapter.restore({ ...request, backups: [{ ...backup, manifest }] }, ctx)
      },
    }
    const elsewhere = await failure(restoreBackup(databases.plan({ adapter: withExtension })))
    expect(elsewhere).toMatchObject({
      code: 'TARGET_INVALID',
      message: expect.stringContaining('postgis_of_elsewhere'),
    })
  })

  test('a role that is no superuser can back up and restore its own database', async ({ databases }) => {
    const role = `${databases.prefix}_app`
    await server.sql(`CREATE ROLE ${role} LOGIN CREATEDB PASSWORD '${PASSWORD.replaceAll("'", "''")}'`)
    await server.sql(`ALTER DATABASE ${databases.live} OWNER TO ${role}`)
    await databases.sql(`ALTER TABLE task OWNER TO ${role}; ALTER SCHEMA public OWNER TO ${role}`)
    await databases.sql('CREATE EXTENSION citext')
    const connection = server.connection({ database: databases.live, user: role })
    const plan = databases.plan({ postgres: { connection } })
    const error = await failure(
      createBackup(databases.plan({ postgres: { connection, logical: { globals: 'with-passwords' } } })),
    )
    expect(error.code).toBe('PRIVILEGE_MISSING')
    await databases.sql('DROP EXTENSION citext; CREATE TABLE closed ()')
    const unreadable = await failure(createBackup(plan))
    expect(unreadable).toMatchObject({ code: 'PRIVILEGE_MISSING', message: expect.stringContaining('closed') })
    await databases.sql('DROP TABLE closed')
    await createBackup(plan)
    await databases.sql('DELETE FROM task')
    await restoreBackup(plan)
    expect(await databases.rows('SELECT count(*)::int FROM task')).toEqual([[2]])
    await server.sql(`ALTER ROLE ${role} NOCREATEDB`)
    expect(await failure(restoreBackup(plan))).toMatchObject({ code: 'PRIVILEGE_MISSING' })
  })

  test('a part of a database is dumped by exact names, and never replaces the whole', async ({ databases }) => {
    await databases.sql(`
      CREATE EXTENSION citext;
      CREATE SCHEMA "a.b*"; CREATE SCHEMA ab; CREATE SCHEMA "A.B*";
      CREATE TABLE "a.b*"."T?""x" AS SELECT 1 AS v; CREATE TABLE "a.b*"."Tyx" AS SELECT 2 AS v;
      CREATE TABLE ab.t (v citext); CREATE TABLE "A.B*".t AS SELECT 4 AS v; CREATE TABLE ab."$T|[x]" AS SELECT 5 AS v`)
    const tablesIn = async (database: string): Promise<unknown[]> =>
      databases.rows(
        `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE relkind = 'r' AND nspname !~ '^(pg_|information)' ORDER BY 1`,
        database,
      )
    const restored = async (logical: object, name: string): Promise<unknown[]> => {
      const plan = databases.plan({ postgres: { logical } })
      await createBackup(plan)
      expect((await failure(restoreBackup(plan))).code).toBe('TARGET_INVALID')
      const to = databases.prefix + name
      await restoreBackup(plan, { to })
      return (await tablesIn(to)).flat()
    }
    expect(await restored({ schemas: ['a.b*'] }, '_schema')).toEqual(['"a.b*"."T?""x"', '"a.b*"."Tyx"'])
    expect(await restored({ tables: ['"a.b*"."T?""x"', 'ab.$T|[x]', 'ab.t'] }, '_tables')).toEqual([
      '"a.b*"."T?""x"',
      'ab."$T|[x]"',
      'ab.t',
    ])
    expect(await restored({ schemas: ['a.b*', 'ab'], excludeTables: ['"a.b*"."T?""x"'] }, '_rest')).toEqual([
      '"a.b*"."Tyx"',
      'ab."$T|[x]"',
      'ab.t',
    ])
    const missing = databases.plan({ postgres: { logical: { schemas: ['a.b?'], tables: ['ab.T'] } } })
    const error = await failure(createBackup(missing))
    expect(error).toMatchObject({ code: 'SOURCE_MISSING', message: expect.stringMatching(/"a\.b\?".*"ab"\."T"/) })
  })
})
