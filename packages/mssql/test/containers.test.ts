import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { adapterCases, runCases } from '@taskflow-backup/testing'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { whyNoContainers } from '../../../test/support/containers.ts'
import { conformanceSubject } from './support/conformance-subject.ts'
import { containerServer, VERSIONS, type Version } from './support/container-server.ts'
import { agreesOnFiles, recoversToAMark, recoversToAMarkOfMsdb, removesWhatWasLeft } from './support/file-scenarios.ts'
import * as scenarios from './support/server-scenarios.ts'
import { dropDatabases, fakeServer, type ServerUnderTest } from './support/server-under-test.ts'

// The official images, where a container engine answers: Docker, or what answers like it, with 2 GB of memory for each
// of the two servers that run at most, and 1.5 GB of disk for each image. The same scenarios with the fake server show
// that it is not the scenarios that fail; they say nothing about SQL Server.

vi.setConfig({ testTimeout: 300_000, hookTimeout: 1_200_000 }) // an image may have to be fetched first

const noContainers = await whyNoContainers()
const wanted = process.env.TASKFLOW_SQLSERVER?.split(',').map(Number) ?? VERSIONS
const whyNot = (version: Version): string | undefined =>
  wanted.includes(version) ? noContainers : 'TASKFLOW_SQLSERVER does not name it'

interface Place {
  readonly name: string
  readonly start: () => Promise<ServerUnderTest>
  readonly reason: string | undefined
  readonly isReal: boolean
}

const places: Place[] = [
  { name: 'fake SQL Server', start: fakeServer, reason: undefined, isReal: false },
  ...VERSIONS.map((version) => ({
    name: `real SQL Server ${version}`,
    start: () => containerServer(version),
    reason: whyNot(version),
    isReal: true,
  })),
]

describe.each(places)('$name', ({ name, start, reason, isReal }) => {
  if (reason !== undefined) {
    test('all scenarios, and the contract of adapters', (context) => context.skip(reason))
    return
  }
  let server: ServerUnderTest
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server?.destroy())

  const scenario = (title: string, body: (on: ServerUnderTest, live: string) => Promise<void>): void => {
    test(title, async (context) => {
      const live = scenarios.newName()
      context.onTestFinished(async () => {
        await dropDatabases(server, live)
        const { localDirectory } = server.folder
        for (const file of await readdir(localDirectory)) await rm(join(localDirectory, file), { force: true })
      })
      await body(server, live)
    })
  }

  scenario(
    'a full, a differential and logs made while rows come in are restored as they were',
    scenarios.restoresAChain,
  )
  scenario('a restore stops at a moment between two rows', scenarios.recoversToAMoment)
  scenario('a restore stops at a marked transaction, and before it', recoversToAMarkOfMsdb)
  scenario('a folder of its files leads to a marked transaction', recoversToAMark)
  scenario('a restore swaps the live database, and undo swaps it back', scenarios.swapsTheLiveDatabase)
  scenario('a restore replaces the live database', scenarios.replacesTheLiveDatabase)
  scenario('its files, msdb and our reader say the same', async (on, live) => {
    const { build, streams, matched } = await agreesOnFiles(on, live)
    // Of newer builds nobody has told how they sum: whether it is as in the older ones is worth knowing, not a fault.
    if (isReal) console.log(`${name} (${build}): our sum is that of ${matched} of ${streams} streams of data`)
    else expect(matched).toBe(streams)
    expect(streams).toBeGreaterThan(0)
  })
  scenario('backups come over the connection', scenarios.readsBack)
  scenario('backups that stay there are removed by a prune', scenarios.prunesOnTheServer)
  scenario('what killed backups left there is removed', removesWhatWasLeft)
  scenario('wrong passwords and missing rights are refused', scenarios.refusesWhatIsNotAllowed)
  scenario('an aborted backup leaves nothing', scenarios.abortsWithoutATrace)
  scenario('the storage alone is enough for another server', (on, live) => scenarios.restoresElsewhere(on, live, start))

  // That of the fake one has a file of its own.
  if (isReal) {
    const borrowed = async (): Promise<ServerUnderTest> => ({ ...server, destroy: async () => {} })
    describe('the contract of adapters', () => runCases(adapterCases, conformanceSubject(borrowed), test))
  }
})
