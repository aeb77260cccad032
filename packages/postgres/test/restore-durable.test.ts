import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { type BackupPlan, createBackup, type Runtime, restoreBackup, verifyBackup } from '@taskflow-backup/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { endProcess, runningPostmaster } from '../src/server/postmaster.ts'
import { physicalPlan, restoredRows } from './support/physical-plan.ts'
import { VERSIONS, type Version, whyNoServer } from './support/programs.ts'
import { queryDataDirectory } from './support/restored.ts'
import { TestServer } from './support/server.ts'

const version = VERSIONS.findLast((one) => whyNoServer(one) === undefined) as Version
if (version === undefined) console.warn(`Whether restores reach the disk is not tried: ${whyNoServer(18)}`)

describe.skipIf(version === undefined)(`a cluster of PostgreSQL ${version} that was set up without fsync`, () => {
  let server: TestServer
  let plan: BackupPlan
  /** What each server that is started is told of it; the last word counts. */
  const told: (string | undefined)[] = []

  beforeAll(async () => {
    server = await TestServer.start(version, { lean: true, settings: { fsync: 'off' } })
    await server.sql('ALTER SYSTEM SET fsync = off')
    const watching = ((command: string, args: readonly string[], more: object) => {
      if (args.includes('-D')) told.push(args.findLast((word) => word.startsWith('fsync=')))
      return spawn(command, args, more)
    }) as Runtime['spawn']
    plan = physicalPlan(server, {}, { runtime: { spawn: watching } })
    await createBackup(plan)
  })
  afterAll(() => server?.destroy())

  test('is restored with it, and keeps its own configuration', async () => {
    const to = join(server.folder, 'kept')
    const { rows } = await restoredRows(plan, { to }, 'SHOW fsync')
    expect(rows).toEqual([{ fsync: 'on' }])
    expect(told.splice(0)).toEqual(['fsync=on'])
    expect(await queryDataDirectory(to, server.programs, 'SHOW fsync')).toEqual([{ fsync: 'off' }])
  })

  test('also when it is left running', async () => {
    const to = { dataDirectory: join(server.folder, 'started'), start: true }
    await restoreBackup(plan, { to })
    await endProcess((await runningPostmaster(to.dataDirectory)) as number, 'SIGQUIT', 240_000)
    expect(told.splice(0)).toEqual(['fsync=on', 'fsync=on'])
  })

  test('is only looked at without it', async () => {
    await verifyBackup(plan, { level: 'restored' })
    expect(told.splice(0)).toEqual(['fsync=off'])
  })
})
