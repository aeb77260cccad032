import { utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { restoreBackup } from '@taskflow-backup/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkOptions } from '../src/options.ts'
import { openSession } from '../src/session.ts'
import { lockWork } from '../src/work-lock.ts'
import { LIVE, type RestoreSite, restoreSite, SERVER_DIRECTORY } from './support/restore-site.ts'

const DEAD = 'dead00000000'
const ALIVE = 'alive0000000'
const STAGING = `${LIVE}_taskflow_restore_${DEAD}`
const KEPT = `${LIVE}_taskflow_before_20260301T120000Z_${DEAD}`

let site: RestoreSite
beforeEach(async () => {
  site = await restoreSite()
  site.insert('live')
})
afterEach(() => site.destroy())

const rename = (name: string): void => {
  const { databases } = site.server.engine
  const live = databases.find(LIVE)
  if (live) databases.rename(live, name)
}

describe('fake SQL Server: left-overs of killed processes', () => {
  test('a half restored database goes, also one that is open already', async () => {
    site.server.createDatabase(STAGING).state = 'RESTORING'
    site.server.createDatabase(`x_taskflow_restore_${DEAD}`)
    expect([...(await site.prune())].sort()).toEqual(
      [`database ${STAGING}`, `database x_taskflow_restore_${DEAD}`].sort(),
    )
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
  })

  test('killed between the two renames: the live database has its name again', async () => {
    site.server.createDatabase(STAGING)
    rename(KEPT)
    const kept = site.server.engine.databases.find(KEPT)
    if (kept) kept.access = 'SINGLE_USER'
    expect(await site.prune()).toEqual([`name ${KEPT} of ${LIVE}`, `database ${STAGING}`])
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
    expect(site.server.rows(LIVE)).toEqual([{ title: 'live' }])
  })

  test('killed after both renames: the kept database can be used again', async () => {
    site.server.createDatabase(KEPT).access = 'SINGLE_USER'
    expect(await site.prune()).toEqual([`single-user mode of ${KEPT}`])
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`, `${KEPT}: ONLINE, MULTI_USER`])
  })

  test('a database that is kept is none', async () => {
    site.server.createDatabase(KEPT)
    const before = site.databases()
    expect(await site.prune()).toEqual([])
    rename('renamed by its owner')
    expect(await site.prune()).toEqual([])
    expect(site.databases()).toHaveLength(before.length)
  })

  test('what belongs to living work stays', async () => {
    const transfer = { type: 'shared-folder', serverDirectory: SERVER_DIRECTORY, localDirectory: site.folder } as const
    const options = checkOptions({ connection: site.server.config, database: LIVE, transfer })
    const session = await openSession(options, new AbortController().signal)
    await lockWork(session, ALIVE)
    const file = join(site.folder, `taskflow_temp_${ALIVE}.bak`)
    await writeFile(file, 'TAPE')
    await utimes(file, 0, 0)
    site.server.createDatabase(`${LIVE}_taskflow_restore_${ALIVE}`).state = 'RESTORING'
    expect(await site.prune()).toEqual([])
    expect(await site.files()).toHaveLength(1)
    await session.close()
    await expect.poll(() => site.server.engine.sessions.locks).toEqual([])
    expect(await site.prune()).toEqual([`database ${LIVE}_taskflow_restore_${ALIVE}`, file])
  })

  test('old temporary files go, young ones and those of others stay', async () => {
    const names = [
      `taskflow_temp_${DEAD}.bak`,
      `taskflow_temp_${DEAD}_2of3.trn`,
      'taskflow_temp_young0000000.bak',
      `taskflow_tail_${DEAD}.trn`,
      'nightly.bak',
    ]
    for (const name of names) {
      await writeFile(join(site.folder, name), 'TAPE')
      if (!name.includes('young')) await utimes(join(site.folder, name), 0, 0)
    }
    expect(await site.prune()).toEqual(names.slice(0, 2).map((name) => join(site.folder, name)))
    expect(await site.files()).toEqual(names.slice(2).sort())
  })

  test('the next restore clears up as well, and what cannot be put right stops nothing', async () => {
    await site.backup('full')
    site.server.createDatabase(STAGING)
    const stubborn = `y_taskflow_restore_${DEAD}`
    site.server.createDatabase(stubborn)
    site.server.fail(/^DROP DATABASE \[y_/, [{ number: 3702, message: 'It is in use.', class: 16 }])
    await restoreBackup(site.plan(), { to: 'copy', onEvent: site.onEvent })
    expect(site.databases().map((text) => text.split(':')[0])).toEqual([LIVE, stubborn, 'copy'])
    expect(site.warnings.join()).toMatch(/3702: It is in use/)
  })

  test('a server that does not answer is a warning', async () => {
    site.server.fail(/^SELECT/, 'drop', { times: 5 })
    expect(await site.prune()).toEqual([])
  })
})
