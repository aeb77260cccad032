import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { createBackup, restoreBackup, undoRestore } from '@taskflow-backup/core'
import { describe, expect } from 'vitest'
import { NOBODY, whyNotNobody } from './support/nobody.ts'
import { test } from './support/place.ts'
import { addTask, createTasks, tasksIn } from './support/tasks.ts'

const isRoot = process.getuid?.() === 0
const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8)

describe('to a new place', () => {
  test('makes the file, for its owner only, and touches nothing else', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    addTask(place.file, 'two')
    const to = place.path('copy.db')
    const { findings, undo } = await restoreBackup(plan, { to })
    expect(findings.map(({ check, severity }) => `${check} ${severity}`)).toEqual([
      'integrity_check ok',
      'foreign_key_check ok',
    ])
    expect(tasksIn(to)).toEqual(['one'])
    expect(tasksIn(place.file)).toEqual(['one', 'two'])
    expect(modeOf(to)).toBe('600')
    expect(undo).toEqual({ engine: 'sqlite', target: to, promotedAt: expect.any(String) })
    expect(readdirSync(place.folder).sort()).toEqual(['app', 'backups', 'copy.db', 'temporary'])
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('is undone by taking the file away, which is kept', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    const to = place.path('copy.db')
    const { undo } = await restoreBackup(plan, { to })
    const again = await undoRestore(plan, JSON.parse(JSON.stringify(undo)))
    expect(existsSync(to)).toBe(false)
    expect(tasksIn(again.kept as string)).toEqual(['one'])
    await undoRestore(plan, again)
    expect(tasksIn(to)).toEqual(['one'])
  })

  test('refuses what is there, unless it may overwrite it; then it is kept', async ({ place }) => {
    createTasks(place.file, ['backed up'])
    const plan = place.plan()
    await createBackup(plan)
    const to = place.path('copy.db')
    createTasks(to, ['mine'])
    await expect(restoreBackup(plan, { to })).rejects.toMatchObject({ code: 'TARGET_EXISTS' })
    expect(tasksIn(to)).toEqual(['mine'])
    const { undo } = await restoreBackup(plan, { to, overwrite: true })
    expect(tasksIn(to)).toEqual(['backed up'])
    expect(tasksIn(undo.kept as string)).toEqual(['mine'])
    await undoRestore(plan, undo)
    expect(tasksIn(to)).toEqual(['mine'])
  })

  test('refuses a place that cannot be', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    mkdirSync(place.path('folder'))
    const targets = {
      [place.path('missing/copy.db')]: 'no folder',
      [join(place.file, 'copy.db')]: 'no folder',
      [place.path('folder')]: 'not a file',
    }
    for (const [to, message] of Object.entries(targets)) {
      await expect(restoreBackup(plan, { to, overwrite: true })).rejects.toMatchObject({
        code: 'TARGET_INVALID',
        message: expect.stringContaining(message),
      })
    }
    for (const to of ['', 'a\0b', 7, null, {}]) {
      await expect(restoreBackup(plan, { to })).rejects.toMatchObject({ code: 'TARGET_INVALID' })
    }
    expect(readdirSync(place.folder).sort()).toEqual(['app', 'backups', 'folder', 'temporary'])
  })

  test('refuses a folder that it may not write to', async ({ place, skip }) => {
    skip(whyNotNobody !== undefined, whyNotNobody)
    createTasks(place.file, ['one'])
    await createBackup(place.plan())
    for (const folder of [place.folder, place.app]) chmodSync(folder, 0o755)
    chmodSync(place.temporary, 0o777)
    const nobody = await place.agent({ uid: NOBODY })
    mkdirSync(place.path('theirs'))
    chownSync(place.path('theirs'), NOBODY, NOBODY)
    const failure = await nobody.run(
      async ({ Database, library }, { folder, temporaryDirectory }) => {
        const { createBackup, defineBackupPlan, memory, restoreBackup, sqlite } = await library()
        const file = `${folder}/theirs/their.db`
        new Database(file).exec('CREATE TABLE task (title)').close()
        const plan = defineBackupPlan({
          name: 'p',
          adapter: sqlite({ file }),
          destinations: [memory()],
          temporaryDirectory,
        })
        await createBackup(plan)
        return restoreBackup(plan, { to: `${folder}/app/copy.db` }).then(
          () => 'restored',
          ({ code, message }) => ({ code, message }),
        )
      },
      { folder: place.folder, temporaryDirectory: place.temporary },
    )
    expect(failure).toMatchObject({ code: 'TARGET_INVALID', message: expect.stringContaining('cannot be written to') })
    expect(await place.besideLive()).toEqual(['tasks.db'])
  })
})

describe('over the live database', () => {
  test.for(['wal', 'delete'] as const)(
    'keeps what was there, %s mode; undo brings it back, and undo of that as well',
    async (journalMode, { place }) => {
      createTasks(place.file, ['one'], journalMode)
      const plan = place.plan()
      await createBackup(plan)
      addTask(place.file, 'two')
      const { undo } = await restoreBackup(plan)
      expect(tasksIn(place.file)).toEqual(['one'])
      expect(tasksIn(undo.kept as string)).toEqual(['one', 'two'])
      expect(modeOf(dirname(undo.kept as string))).toBe('700')
      const again = await undoRestore(plan, JSON.parse(JSON.stringify(undo)))
      expect(tasksIn(place.file)).toEqual(['one', 'two'])
      expect(existsSync(dirname(undo.kept as string))).toBe(false)
      await undoRestore(plan, again)
      expect(tasksIn(place.file)).toEqual(['one'])
      expect(readdirSync(place.app)).toHaveLength(2) // the database, and the one kept
      await expect(undoRestore(plan, undo)).rejects.toMatchObject({ code: 'UNDO_IMPOSSIBLE' })
      expect(tasksIn(place.file)).toEqual(['one'])
    },
  )

  test('leaves no staging folder, no log and no temporary file', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    const { undo } = await restoreBackup(plan)
    expect(readdirSync(place.app).sort()).toEqual(['tasks.db', undo.kept?.split('/').at(-2)])
    expect(readdirSync(dirname(undo.kept as string))).toEqual(['tasks.db'])
    expect(readdirSync(place.temporary)).toEqual([])
  })

  test('keeps mode and owner', async ({ place }) => {
    createTasks(place.file, ['one'])
    chmodSync(place.file, 0o640)
    if (isRoot) chownSync(place.file, 1234, 2345)
    const plan = place.plan()
    await createBackup(plan)
    const { undo } = await restoreBackup(plan)
    const owner = isRoot ? [1234, 2345] : [process.getuid?.(), process.getgid?.()]
    const ownerOf = (path: string) => [statSync(path).uid, statSync(path).gid]
    for (const file of [place.file, undo.kept as string]) {
      expect(modeOf(file)).toBe('640')
      expect(ownerOf(file)).toEqual(owner)
    }
    // So that the owner may undo what somebody else restored.
    expect(ownerOf(dirname(undo.kept as string))).toEqual(owner)
  })

  test('that is missing makes it', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    rmSync(place.file)
    const { undo } = await restoreBackup(plan)
    expect(undo.kept).toBeUndefined()
    expect(tasksIn(place.file)).toEqual(['one'])
    const again = await undoRestore(plan, undo)
    expect(existsSync(place.file)).toBe(false)
    await undoRestore(plan, again)
    expect(tasksIn(place.file)).toEqual(['one'])
  })

  test('behind a symbolic link: the link stays, the file that it names is replaced', async ({ place }) => {
    const real = place.path('elsewhere/real.db')
    mkdirSync(dirname(real))
    symlinkSync('../elsewhere/real.db', place.file)
    createTasks(real, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    addTask(place.file, 'two')
    const { undo } = await restoreBackup(plan)
    expect(readlinkSync(place.file)).toBe('../elsewhere/real.db')
    expect(lstatSync(real).isFile()).toBe(true)
    expect(tasksIn(place.file)).toEqual(['one'])
    expect(dirname(dirname(undo.kept as string))).toBe(dirname(real))
    expect(await place.besideLive()).toEqual(['tasks.db'])
  })

  test('behind a symbolic link whose file is gone', async ({ place }) => {
    const real = place.path('elsewhere/real.db')
    mkdirSync(dirname(real))
    symlinkSync('../elsewhere/real.db', place.file)
    createTasks(real, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    rmSync(real)
    await restoreBackup(plan)
    expect(readlinkSync(place.file)).toBe('../elsewhere/real.db')
    expect(tasksIn(real)).toEqual(['one'])
  })

  test('with a log of a database that is gone beside it: the log is not replayed', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    const other = await place.agent()
    await other.run(({ Database, held }, file) => {
      held.a = new Database(file)
      held.a.pragma('wal_autocheckpoint = 0')
      held.a.exec("INSERT INTO task (title) VALUES ('in the log')")
    }, place.file)
    await other.kill()
    rmSync(place.file)
    expect(statSync(`${place.file}-wal`).size).toBeGreaterThan(0)
    const { undo } = await restoreBackup(plan)
    expect(tasksIn(place.file)).toEqual(['one'])
    expect(undo.kept).toBeUndefined()
    await undoRestore(plan, undo)
    expect(existsSync(place.file)).toBe(false)
  })

  test('leaves a folder of the user alone that has the name of a left-over of another database', async ({ place }) => {
    createTasks(place.file, ['one'])
    const plan = place.plan()
    await createBackup(plan)
    mkdirSync(join(place.app, 'other.db.before-restore-20261122T000000-aaaa'))
    writeFileSync(join(place.app, 'notes.txt'), 'mine')
    await restoreBackup(plan)
    expect(readdirSync(place.app)).toEqual(
      expect.arrayContaining(['notes.txt', 'other.db.before-restore-20261122T000000-aaaa']),
    )
  })
})
