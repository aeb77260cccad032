import { type BackupError, restoreBackup, undoRestore } from '@taskflow-backup/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LIVE, type RestoreSite, restoreSite, SERVER_DIRECTORY } from './support/restore-site.ts'

const REPLACE = { restore: { method: 'replace' } } as const
const FULL_DISK = [{ number: 3257, message: 'There is insufficient free space.', class: 16 }]

const failure = (work: Promise<unknown>): Promise<BackupError> =>
  work.then(
    () => expect.unreachable('it succeeded'),
    (error: BackupError) => error,
  )

let site: RestoreSite
beforeEach(async () => {
  site = await restoreSite()
  site.insert('one')
  await site.backup('full')
  site.insert('two')
})
afterEach(() => site.destroy())

const restore = () => restoreBackup(site.plan(REPLACE), { onEvent: site.onEvent })
const filesOfLive = () => site.server.engine.databases.find(LIVE)?.files.map(({ physicalName }) => physicalName)

describe('fake SQL Server: a restore over the live database', () => {
  test('keeps its files, and the end of its log', async () => {
    const files = filesOfLive()
    const { undo } = await restore()
    expect(site.server.rows(LIVE)).toEqual([{ title: 'one' }])
    expect(filesOfLive()).toEqual(files)
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
    const [tail] = await site.files()
    expect(await site.files()).toEqual([
      expect.stringMatching(/^Task_Flow_s_taskflow_tail_\d{8}T\d{6}Z_[a-z0-9]{12}\.trn$/),
    ])
    const error = await failure(undoRestore(site.plan(), undo))
    expect(error).toMatchObject({
      code: 'UNDO_IMPOSSIBLE',
      hint: expect.stringContaining(`${SERVER_DIRECTORY}\\${tail}`),
    })
  })

  test('of the recovery model SIMPLE keeps nothing, and says so', async () => {
    site.server.engine.databases.find(LIVE)?.setRecoveryModel('SIMPLE')
    await restore()
    expect(site.server.rows(LIVE)).toEqual([{ title: 'one' }])
    expect(site.warnings.join()).toContain('SIMPLE')
    expect(await site.files()).toEqual([])
  })

  test('is refused while there is no log to back up, and the database stays open', async () => {
    const live = site.server.engine.databases.find(LIVE)
    live?.setRecoveryModel('SIMPLE')
    live?.setRecoveryModel('FULL')
    expect(await failure(restore())).toMatchObject({ code: 'BASE_UNUSABLE', details: { number: 4214 } })
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
    expect(site.server.rows(LIVE)).toEqual([{ title: 'one' }, { title: 'two' }])
    expect(await site.files()).toEqual([])
  })

  test('that fails when it has begun is ended by the copy that was checked', async () => {
    site.server.fail(/^RESTORE DATABASE .*REPLACE/, FULL_DISK, { at: 'middle' })
    await restore()
    expect(site.server.rows(LIVE)).toEqual([{ title: 'one' }])
    expect(site.databases()).toEqual([`${LIVE}: ONLINE, MULTI_USER`])
    expect(site.warnings.join()).toMatch(/took its place: .*3257/)
  })

  test('that can neither go on nor be ended leaves the copy, and the next prune leaves it too', async () => {
    site.server.fail(/^RESTORE DATABASE .*REPLACE/, FULL_DISK, { at: 'middle' })
    site.server.fail(/^DROP DATABASE/, FULL_DISK, { times: 5 })
    const error = await failure(restore())
    const staging = site.server.databases().find(({ name }) => name.includes('_restore_'))?.name as string
    expect(error.message).toContain('half restored')
    expect(error.hint).toContain(staging)
    expect(site.server.rows(staging)).toEqual([{ title: 'one' }])
    expect(await site.prune()).toEqual([])
    expect(site.server.rows(staging)).toEqual([{ title: 'one' }])
  })
})
