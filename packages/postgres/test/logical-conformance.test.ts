import { readdir } from 'node:fs/promises'
import type { AdapterContext, BackupAdapter, JsonValue } from '@taskflow-backup/core'
import { type AdapterInstance, adapterCases, runCases, spawnToKill } from '@taskflow-backup/testing'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { Databases, startSharedServer, whyNoLogical } from './support/databases.ts'
import { PASSWORD, type TestServer } from './support/server.ts'

const SCHEMA = `
  CREATE TABLE task (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL);
  INSERT INTO task (title) VALUES ('one'), ('two');
`
const why = whyNoLogical()
let server: TestServer

describe.skipIf(why !== undefined)(`the contract of adapters${why === undefined ? '' : `: ${why}`}`, () => {
  beforeAll(async () => {
    server = await startSharedServer()
  })
  afterAll(() => server?.destroy())
  runCases(adapterCases, { create }, test)
})

async function create(): Promise<AdapterInstance> {
  const databases = await Databases.make(server, { sql: SCHEMA })
  const real = databases.adapter()
  let failing = false
  const inFolder = (ctx: AdapterContext): AdapterContext => ({ ...ctx, temporaryDirectory: databases.temporary })
  const adapter: BackupAdapter = {
    ...real,
    backup(request, ctx) {
      if (!failing) return real.backup(request, inFolder(ctx))
      failing = false
      return real.backup(request, { ...inFolder(ctx), spawn: spawnToKill(ctx.spawn) })
    },
    restore: (request, ctx) => real.restore(request, inFolder(ctx)),
  }
  const stateOf = (location: JsonValue): Promise<unknown[]> =>
    databases.rows('SELECT id, title FROM task ORDER BY id', String(location))
  return {
    adapter,
    mutate: async () => void (await databases.sql(`INSERT INTO task (title) VALUES ('task ${Math.random()}')`)),
    state: () => stateOf(databases.live),
    stateOf,
    placeFor: async (name) => `${databases.prefix}_${name}`,
    destroy: () => databases.destroy(),
    secrets: [PASSWORD],
    leftovers: async () => [...(await databases.staged()), ...(await readdir(databases.temporary))],
    async failSource() {
      failing = true
      await databases.sql('CREATE TABLE filler AS SELECT gen_random_uuid() FROM generate_series(1, 200000)')
    },
    // Two rows with one key: the dump is made, and cannot be loaded.
    async corrupt() {
      await databases.sql(`
        UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'task_pkey'::regclass;
      `)
      await databases.sql(`INSERT INTO task (id, title) OVERRIDING SYSTEM VALUE VALUES (1, 'one again')`)
      await databases.sql(`
        UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'task_pkey'::regclass;
      `)
    },
  }
}
