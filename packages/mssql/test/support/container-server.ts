import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type sql from 'mssql'
import { GenericContainer, Wait } from 'testcontainers'
import { type Client, connectTo } from './engine/client.ts'
import { realDatabases } from './real-databases.ts'
import { type ServerUnderTest, TIME_ZONE } from './server-under-test.ts'

export const VERSIONS = [2019, 2022, 2025] as const
export type Version = (typeof VERSIONS)[number]

const PORT = 1433
const START_MS = 180_000
/** It says that it is ready while it still brings its own databases up to date, and refuses logins meanwhile. */
const LOGIN_MS = 120_000
const LOGIN_ROUND_MS = 1000
/** Less than 2000 it does not start with; without a limit it takes most of the machine's. */
const MEMORY_MB = 2048
const SHARED = '/shared'

/**
 * A container of the official image, with a folder of this machine in it.
 *
 * The server runs there as the user 10001, who is nobody here. It may write, because everybody may; what it writes
 * belongs to the group of the folder (that is what the set-group-ID bit does), which is ours, and its mode lets
 * the group read. Removing is a right of the folder. What we write for it, it reads as everybody else does.
 */
export async function containerServer(version: Version): Promise<ServerUnderTest> {
  const localDirectory = await mkdtemp(join(tmpdir(), 'taskflow-mssql-'))
  await chmod(localDirectory, 0o2777)
  const password = `Aa1!${randomBytes(12).toString('hex')}`
  const container = await new GenericContainer(`mcr.microsoft.com/mssql/server:${version}-latest`)
    .withPlatform('linux/amd64') // there is no other one
    .withEnvironment({
      ACCEPT_EULA: 'Y',
      MSSQL_PID: 'Developer',
      MSSQL_SA_PASSWORD: password,
      MSSQL_MEMORY_LIMIT_MB: String(MEMORY_MB),
      TZ: TIME_ZONE.name,
    })
    .withBindMounts([{ source: localDirectory, target: SHARED, mode: 'rw' }])
    .withExposedPorts(PORT)
    .withStartupTimeout(START_MS)
    .withWaitStrategy(Wait.forLogMessage(/SQL Server is now ready for client connections/))
    .start()
    .catch(async (error: unknown) => {
      await rm(localDirectory, { recursive: true, force: true })
      throw error
    })
  const port = container.getMappedPort(PORT)
  const config = {
    server: container.getHost(),
    port,
    user: 'sa',
    password,
    options: { encrypt: true, trustServerCertificate: true }, // it makes a certificate for itself
  }
  const remove = async (): Promise<void> => {
    await container.stop()
    await rm(localDirectory, { recursive: true, force: true })
  }
  let client: Client
  try {
    client = await logIn(config, port)
  } catch (error) {
    await remove()
    throw error
  }
  return {
    config,
    folder: { serverDirectory: SHARED, localDirectory, fileMode: 0o644 },
    slowBackupBytes: 128 * 1024 * 1024,
    client,
    ...realDatabases(client),
    async destroy() {
      await client.close()
      await remove()
    },
  }
}

async function logIn(config: sql.config & { readonly password: string }, port: number): Promise<Client> {
  const { server, password } = config
  const deadline = performance.now() + LOGIN_MS
  for (;;) {
    try {
      return await connectTo({ port, config }, { server, password, requestTimeout: 0 })
    } catch (error) {
      if (performance.now() > deadline) throw error
      await sleep(LOGIN_ROUND_MS)
    }
  }
}
