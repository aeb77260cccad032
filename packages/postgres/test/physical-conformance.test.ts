import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { BackupAdapter } from '@taskflow-backup/core'
import { type AdapterInstance, adapterCases, runCases, spawnToKill } from '@taskflow-backup/testing'
import { describe, test } from 'vitest'
import { postgres } from '../src/index.ts'
import { postmastersBelow } from '../src/server/postmaster.ts'
import { RUN_AS, whyNoServer } from './support/programs.ts'
import { queryDataDirectory, queryUrl } from './support/restored.ts'
import { PASSWORD, TestServer } from './support/server.ts'

const VERSION = 17
const TASKS = 'SELECT id, title, length(filler) AS filler FROM task ORDER BY id'

class Subject {
  readonly server: TestServer
  readonly places = new Set<string>()
  failing = false

  constructor(server: TestServer) {
    this.server = server
  }

  static async start(): Promise<Subject> {
    const server = await TestServer.start(VERSION, {
      lean: true,
      // No page checksums: what is damaged has to be found by the check of what was restored.
      initdb: ['--wal-segsize=1'],
      settings: { fsync: 'off', summarize_wal: 'on', max_wal_size: '8MB', min_wal_size: '2MB', autovacuum: 'off' },
    })
    await server.sql('CREATE TABLE task (id serial PRIMARY KEY, title text, filler text)')
    await server.sql("INSERT INTO task (title) VALUES ('one'), ('two')")
    return new Subject(server)
  }

  adapter(): BackupAdapter {
    const { server } = this
    const real = postgres({
      connection: server.connection(),
      mode: 'physical',
      physical: {
        slot: 'backup',
        dataDirectory: server.dataDirectory,
        serverPrograms: server.programs,
        ...(RUN_AS && { runAs: RUN_AS }),
      },
    })
    return {
      ...real,
      describe: async (ctx) => {
        await server.run()
        return real.describe(ctx)
      },
      backup: (request, ctx) => {
        if (!this.failing) return real.backup(request, ctx)
        this.failing = false
        return real.backup(request, { ...ctx, spawn: spawnToKill(ctx.spawn, () => server.stop('SIGKILL')) })
      },
      // What the app's operator does: the live server is stopped while it is replaced.
      restore: async (request, ctx) => {
        const isLive = request.target.kind === 'live'
        if (isLive) await server.stop()
        const staged = await real.restore(request, ctx)
        return {
          ...staged,
          promote: async (promoteCtx) => {
            if (isLive) await server.stop()
            return staged.promote(promoteCtx)
          },
        }
      },
      undo: async (record, ctx) => {
        if (record.target === server.dataDirectory) await server.stop()
        return real.undo(record, ctx)
      },
    }
  }

  async leftovers(): Promise<string[]> {
    const { folder, dataDirectory } = this.server
    const known = ['data', 'log', 'password', '.s.PGSQL.5432', '.s.PGSQL.5432.lock', ...this.places]
    const names = (await readdir(folder)).filter((name) => !known.includes(name.replace(/\.before-restore-.*$/, '')))
    const processes = await postmastersBelow(folder, dataDirectory)
    const own = processes.filter((pid) => pid !== this.server.pid)
    return [...names, ...own.map((pid) => `process ${pid}`)]
  }
}

async function create(): Promise<AdapterInstance> {
  // Started when something is asked of it: whether a case concerns the subject can be told without a server.
  let starting: Promise<Subject> | undefined
  const started = async (): Promise<Subject> => {
    starting ??= Subject.start()
    const subject = await starting
    await subject.server.run()
    // The cases look at what our verbs leave running, not at what we run ourselves.
    subject.server.unref()
    return subject
  }
  const sql = async (text: string): Promise<void> => {
    await (await started()).server.sql(text)
  }
  return {
    adapter: lazyAdapter(started),
    secrets: [PASSWORD],
    mutate: () => sql(`INSERT INTO task (title) VALUES ('task ${Math.random()}')`),
    state: async () => (await started()).server.sql(TASKS),
    async stateOf(location) {
      const { server } = await started()
      const place = String(location)
      return place.startsWith('postgres://')
        ? queryUrl(place, TASKS)
        : queryDataDirectory(place, server.programs, TASKS)
    },
    async placeFor(name) {
      const subject = await started()
      subject.places.add(name)
      return join(subject.server.folder, name)
    },
    destroy: async () => {
      await (await starting)?.server.destroy()
    },
    leftovers: async () => (await started()).leftovers(),
    async failSource() {
      await sql(
        "INSERT INTO task (title, filler) SELECT 'filler', repeat(md5(g::text), 400) FROM generate_series(1, 3000) g",
      )
      const subject = await started()
      subject.failing = true
    },
    async corrupt() {
      const subject = await started()
      await sql("INSERT INTO task (title, filler) SELECT 'filler', 'x' FROM generate_series(1, 5000)")
      const [row] = await subject.server.sql<{ path: string }>("SELECT pg_relation_filepath('task') AS path")
      await subject.server.stop()
      const file = await open(join(subject.server.dataDirectory, (row as { path: string }).path), 'r+')
      await file.write(Buffer.alloc(8192, 0x5a), 0, 8192, 8192)
      await file.close()
      await subject.server.run()
    },
    breakLog: () => sql("SELECT pg_drop_replication_slot('backup')"),
  }
}

/** The adapter of a subject that is started by the first call. */
function lazyAdapter(started: () => Promise<Subject>): BackupAdapter {
  let made: Promise<BackupAdapter> | undefined
  const adapter = (): Promise<BackupAdapter> => {
    made ??= started().then((subject) => subject.adapter())
    return made
  }
  const { engine, kinds, pointInTime, comparePositions, follows } = postgres({
    connection: { host: '/nowhere' },
    mode: 'physical',
    physical: { slot: 'backup' },
  })
  return {
    engine,
    kinds,
    pointInTime,
    comparePositions,
    ...(follows && { follows }),
    describe: async (ctx) => (await adapter()).describe(ctx),
    async *backup(request, ctx) {
      return yield* (await adapter()).backup(request, ctx)
    },
    restore: async (request, ctx) => (await adapter()).restore(request, ctx),
    undo: async (record, ctx) => (await adapter()).undo(record, ctx),
    inspect: async (member, ctx) => (await adapter()).inspect(member, ctx),
    removeLeftovers: async (ctx) => (await adapter()).removeLeftovers(ctx),
  }
}

const reason = whyNoServer(VERSION)
if (reason) console.warn(`The contract of adapters is not tried in physical mode: ${reason}`)

describe.skipIf(reason)(`the contract of adapters, physical mode, PostgreSQL ${VERSION}`, () => {
  runCases(adapterCases, { create }, test)
})
