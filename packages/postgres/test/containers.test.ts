import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test, vi } from 'vitest'
import { whyNoContainers } from '../../../test/support/containers.ts'
import { containerServer } from './support/container-server.ts'
import { clientPrograms, VERSIONS, type Version, whyNoServer } from './support/programs.ts'
import { recoversToAMoment, restoresADump } from './support/server-scenarios.ts'
import { localServer, type ServerUnderTest } from './support/server-under-test.ts'

// The official images, where a container engine answers. The same scenarios with servers among the packages show that
// it is not the scenarios that fail.

vi.setConfig({ testTimeout: 900_000 }) // an image may have to be fetched first

const noContainers = await whyNoContainers()
const programs = clientPrograms()

const wanted = process.env.TASKFLOW_POSTGRES?.split(',').map(Number) ?? VERSIONS
const whyNoContainer = (version: Version): string | undefined =>
  wanted.includes(version) ? noContainers : 'TASKFLOW_POSTGRES does not name it'

interface Place {
  readonly name: string
  readonly start: (version: Version) => Promise<ServerUnderTest>
  readonly whyNot: (version: Version) => string | undefined
  readonly physical: readonly Version[]
  readonly logical: readonly Version[]
}

const places: Place[] = [
  { name: 'the official image', start: containerServer, whyNot: whyNoContainer, physical: VERSIONS, logical: VERSIONS },
  { name: 'a server among the packages', start: localServer, whyNot: whyNoServer, physical: [17], logical: [15] },
]

describe.each(places)('$name', ({ start, whyNot, physical, logical }) => {
  async function subject(version: Version, context: TestContext) {
    const server = await start(version)
    context.onTestFinished(() => server.destroy())
    const folder = await mkdtemp(join(tmpdir(), 'taskflow-container-'))
    context.onTestFinished(() => rm(folder, { recursive: true, force: true }))
    return { server, folder }
  }

  test.for(logical)('of PostgreSQL %i: a dump comes back as a new database', async (version, context) => {
    const reason = whyNot(version)
    context.skip(reason !== undefined, reason)
    const tooOld = programs === undefined || programs.version < version
    context.skip(tooOld, `there are no client programs of PostgreSQL ${version} or newer`)
    const { server, folder } = await subject(version, context)
    await restoresADump(server, folder, programs?.folder as string)
  })

  test.for(physical)('of PostgreSQL %i: recovered to a moment after a kill', async (version, context) => {
    const reason = whyNot(version)
    context.skip(reason !== undefined, reason)
    const { server, folder } = await subject(version, context)
    await recoversToAMoment(server, folder)
  })
})
