import { chmodSync, mkdirSync, readdirSync } from 'node:fs'
import { restoreBackup } from '@taskflow-backup/core'
import Database from 'better-sqlite3'
import { beforeEach, describe, expect } from 'vitest'
import { NOBODY, whyNotNobody } from './support/nobody.ts'
import { type Place, test } from './support/place.ts'
import { createTasks, tasksIn } from './support/tasks.ts'

beforeEach(({ skip }) => {
  skip(whyNotNobody !== undefined, whyNotNobody)
})

/** Somebody who may use the folders for backups and for temporary files, and may do to the database what `mode` says. */
async function asNobody(place: Place, mode: number) {
  for (const folder of [place.folder, place.app]) chmodSync(folder, 0o755)
  mkdirSync(place.backups, { recursive: true })
  for (const folder of [place.temporary, place.backups]) chmodSync(folder, 0o777)
  chmodSync(place.file, mode)
  const agent = await place.agent({ uid: NOBODY })
  const { file, backups, temporary: temporaryDirectory } = place
  return (verb: 'full' | 'log' | 'followLog'): Promise<object> =>
    agent.run(
      async ({ library }, { verb, file, backups, temporaryDirectory }) => {
        const { createBackup, defineBackupPlan, directory, followLog, sqlite } = await library()
        const adapter = sqlite({ file })
        const plan = defineBackupPlan({
          name: 'tasks',
          adapter,
          destinations: [directory(backups)],
          temporaryDirectory,
        })
        const work =
          verb === 'followLog'
            ? followLog(plan).then((following) => following.stop())
            : createBackup(plan, { kind: verb }).then(({ kind, manifest }) => {
                const { method, notes, gaps } = manifest
                return { kind, method, notes, gaps }
              })
        return work.then(
          (result) => result ?? {},
          ({ code, message, hint }) => ({ code, message, hint }),
        )
      },
      { verb, file, backups, temporaryDirectory },
    )
}

/** An app that has it open: the log's index is there, and tells a mark up to which others can read. */
function openApp(place: Place): Database.Database {
  const app = new Database(place.file)
  place.atEnd(() => app.close())
  app.exec("INSERT INTO task (title) VALUES ('two')")
  app.prepare('SELECT * FROM task').all()
  return app
}

describe('another user', () => {
  test('may not read it', async ({ place }) => {
    createTasks(place.file, ['one'])
    const nobody = await asNobody(place, 0o600)
    expect(await nobody('full')).toMatchObject({
      code: 'SOURCE_UNREADABLE',
      message: expect.stringContaining('permission denied'),
    })
  })

  test('may read it but not write beside it: the log’s index cannot be made', async ({ place }) => {
    createTasks(place.file, ['one'])
    const nobody = await asNobody(place, 0o644)
    const refused = { code: 'SOURCE_UNREADABLE', hint: expect.stringContaining('write to the folder') }
    expect(await nobody('full')).toMatchObject(refused)
    expect(await nobody('followLog')).toMatchObject(refused)
    expect(readdirSync(place.app)).toEqual(['tasks.db'])
  })

  test('may read it while the app has it open: SQLite’s online backup is used', async ({ place }) => {
    createTasks(place.file, ['one'])
    openApp(place)
    const nobody = await asNobody(place, 0o644)
    expect(await nobody('full')).toMatchObject({
      method: 'online-backup',
      notes: [expect.stringContaining('may only read')],
    })
  })

  test('may read it while the app has it open: it cannot be followed, and a log on a schedule compares', async ({
    place,
  }) => {
    createTasks(place.file, ['one'])
    const app = openApp(place)
    const nobody = await asNobody(place, 0o644)
    await nobody('full')
    const held = readdirSync(place.app)
    expect(await nobody('followLog')).toMatchObject({
      code: 'SOURCE_UNREADABLE',
      message: expect.stringMatching(/cannot be followed.*may not write/),
      hint: expect.stringContaining('on a schedule'),
    })
    expect(readdirSync(place.app)).toEqual(held)
    expect(readdirSync(place.temporary)).toEqual([])
    for (const title of ['three', 'four']) {
      app.prepare('INSERT INTO task (title) VALUES (?)').run(title)
      expect(await nobody('log')).toMatchObject({
        kind: 'log',
        method: 'page-comparison',
        gaps: [{ reason: 'The write-ahead log cannot be read.' }],
      })
    }
    await restoreBackup(place.plan(), { to: place.path('newest.db') })
    expect(tasksIn(place.path('newest.db'))).toEqual(['one', 'two', 'three', 'four'])
  })
})
