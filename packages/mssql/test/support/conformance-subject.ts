import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import type { AdapterInstance, AdapterSubject } from '@taskflow-backup/testing'
import { mssql } from '../../src/index.ts'
import { identifier } from '../../src/statements/quote.ts'
import { databasesOf, dropDatabases, locksLeft, type ServerUnderTest } from './server-under-test.ts'

/** Large enough that its fulls are decoded by a child; its logs are not. */
const BALLAST_BYTES = 1_100_000

/** Databases on servers that `start` gives, each with an adapter that sends through the shared folder. */
export const conformanceSubject = (start: () => Promise<ServerUnderTest>): AdapterSubject => ({
  create: async () => createOn(await start()),
})

async function createOn(server: ServerUnderTest): Promise<AdapterInstance> {
  const { config, folder, client } = server
  const live = `Task]Flow's ${randomUUID().slice(0, 8)}`
  await server.createDatabase(live, BALLAST_BYTES)
  let rows = 0
  return {
    adapter: mssql({ connection: config, database: live, transfer: { type: 'shared-folder', ...folder } }),
    mutate: () => server.insert(live, `task ${++rows}`),
    state: () => server.titles(live),
    stateOf: (location) => server.titles(String(location)),
    placeFor: async (name) => `${live} ${name}`,
    leftovers: async () => [
      ...(await locksLeft(server)),
      ...(await readdir(folder.localDirectory)),
      ...(await databasesOf(server, live))
        .filter(
          ({ name, state, userAccess }) =>
            name.includes('_restore_') || state !== 'ONLINE' || userAccess !== 'MULTI_USER',
        )
        .map(({ name }) => name),
    ],
    failSource: () => server.breakBackup(live),
    corrupt: () => server.corrupt(live),
    // The log is cut off, as with every change to this model: there is none before the next full.
    async breakLog() {
      for (const model of ['SIMPLE', 'FULL'])
        await client.must(`ALTER DATABASE ${identifier(live)} SET RECOVERY ${model};`)
    },
    secrets: [config.password],
    async destroy() {
      await dropDatabases(server, live)
      await server.destroy()
    },
  }
}
