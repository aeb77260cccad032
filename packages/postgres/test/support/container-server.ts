import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer, Wait } from 'testcontainers'
import type { Version } from './programs.ts'
import { PASSWORD } from './server.ts'
import { CREATE_BACKUP_ROLE, REPLICATION_LINE, type ServerUnderTest, settingsFor } from './server-under-test.ts'

const PORT = 5432
const START_MS = 120_000
/** Not that of the image: its version 18 has another place for data, and all of them declare a volume there. */
const RESTORED = '/restored/data'

/** A container of the official image, set up by the image's own means: variables, and scripts that it runs once. */
export async function containerServer(version: Version): Promise<ServerUnderTest> {
  const command = [
    'postgres',
    ...Object.entries(settingsFor(version)).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ]
  const image = (): GenericContainer =>
    new GenericContainer(`postgres:${version}`)
      .withEnvironment({ POSTGRES_PASSWORD: PASSWORD, POSTGRES_INITDB_ARGS: '--data-checksums' })
      .withCommand(command)
      .withExposedPorts(PORT)
      .withStartupTimeout(START_MS)
  const containers: StartedTestContainer[] = []
  const start = async (container: GenericContainer, timesReady: number): Promise<void> => {
    // A server in recovery says that it accepts "read-only connections", which this is not.
    const ready = Wait.forLogMessage(/database system is ready to accept connections/, timesReady)
    containers.push(await container.withWaitStrategy(Wait.forAll([ready, Wait.forListeningPorts()])).start())
  }
  const current = (): StartedTestContainer => containers.at(-1) as StartedTestContainer

  const fresh = image().withCopyContentToContainer([
    { target: '/docker-entrypoint-initdb.d/1-role.sql', content: CREATE_BACKUP_ROLE },
    {
      target: '/docker-entrypoint-initdb.d/2-replication.sh',
      content: `echo '${REPLICATION_LINE}' >> "$PGDATA/pg_hba.conf"\n`,
    },
  ])
  await start(fresh, 2) // the first time it is the server of these scripts
  return {
    version,
    connection: (more) => ({
      host: current().getHost(),
      port: current().getMappedPort(PORT),
      user: 'postgres',
      password: PASSWORD,
      database: 'postgres',
      ...more,
    }),
    async kill() {
      const { container } = await getContainerRuntimeClient()
      await container.getById(current().getId()).kill({ signal: 'SIGKILL' })
    },
    async startOn(dataDirectory) {
      // What is copied in belongs to root; the image gives its data directory to the server's user, with mode 0700.
      const restored = image()
        .withEnvironment({ PGDATA: RESTORED })
        .withCopyDirectoriesToContainer([{ source: dataDirectory, target: RESTORED }])
      await start(restored, 1)
    },
    async destroy() {
      for (const container of containers.splice(0)) await container.stop()
    },
  }
}
